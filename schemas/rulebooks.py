"""Published rulebooks: what the topic ``rulebooks`` carries, and how a version is named.

Three kinds of records share the topic, told apart by their key:

- ``version:<version>`` a rulebook, whole; the one that was written last is the one in force.
- ``applied:<partition>`` which version a partition of ``events`` runs, and from which offset.
- ``refused:<worker>`` a version that a worker cannot compile; a tombstone takes it back.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

VERSION_KEY: Final = b"version:"
APPLIED_KEY: Final = b"applied:"
REFUSED_KEY: Final = b"refused:"
SUFFIXES: Final = (".yaml", ".yml")


class Pushed(msgspec.Struct, rename="camel", kw_only=True):
    """A rulebook as it was pushed: ``files`` by their path in its folder."""

    version: str
    files: dict[str, str]
    note: str = ""
    pushed_at_ms: int


class Applied(msgspec.Struct, rename="camel", kw_only=True):
    """A partition of ``events`` is under a version from ``from_offset`` on.

    ``closed``: its worker has left in order, so nothing that it did can be repeated.
    """

    version: str
    partition: int
    from_offset: int
    worker: str
    applied_at_ms: int
    closed: bool = False


class Refused(msgspec.Struct, rename="camel", kw_only=True):
    """A worker keeps what it has, since it cannot take this version."""

    version: str
    worker: str
    problem: str
    refused_at_ms: int


encode = msgspec.json.Encoder().encode
decode_pushed = msgspec.json.Decoder(Pushed).decode
decode_applied = msgspec.json.Decoder(Applied).decode
decode_refused = msgspec.json.Decoder(Refused).decode


def read_files(folder: Path) -> dict[str, str]:
    """Return the YAML files of a rulebook's folder (or the one file) by their paths in it."""
    if folder.is_file():
        return {folder.name: folder.read_text("utf-8")}
    paths = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in paths}


def version_of(files: Mapping[str, str]) -> str:
    """Return the name of a rulebook: a hash of its files and where they stand, 12 hex digits."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(files):
        for part in (path, files[path]):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
