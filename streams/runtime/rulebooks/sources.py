"""Where a rulebook comes from: a folder, a version that was pushed, or a commit of git."""

import asyncio
import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from schemas.errors import ConfigInvalid
from schemas.rulebooks import SUFFIXES, read_files, version_of
from schemas.settings import Settings, home
from streams.runtime.rulebooks.published import read_published

_VERSION: Final = re.compile(r"[0-9a-f]{4,12}")


@dataclass(frozen=True, slots=True)
class Book:
    """A rulebook on disk: its folder, its version, and what it was asked for as."""

    folder: Path
    version: str
    name: str


def keep_copy(files: Mapping[str, str]) -> Path:
    """Return the folder of a version under the home, written whole if it is not there yet."""
    folder = home() / "rulebooks" / version_of(files)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        part = Path(temporary) / "book"
        for name, text in files.items():
            path = part / PurePosixPath(name)
            if not path.resolve().is_relative_to(part.resolve()):
                raise ConfigInvalid(name, "a file of a rulebook stands outside its folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        try:
            part.rename(folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
    return folder


def find_book(settings: Settings, name: str | Path | None) -> Book:
    """Return the rulebook of a folder, a pushed version (or its start), or a commit.

    Without a name it is the folder of the setting. Raises ``ConfigInvalid``.
    """
    path = Path(name or settings.rulebook)
    if path.exists():
        return Book(path, version_of(read_files(path)), str(path))
    text = str(name)
    if _VERSION.fullmatch(text) and (files := _pushed(settings, text)):
        return Book(keep_copy(files), version_of(files), text)
    files = _committed(settings.rulebook, text)
    return Book(keep_copy(files), version_of(files), text)


def _pushed(settings: Settings, start: str) -> dict[str, str]:
    matching = [
        p for p in asyncio.run(read_published(settings)).pushed if p.version.startswith(start)
    ]
    if len({p.version for p in matching}) > 1:
        versions = ", ".join(p.version for p in matching)
        raise ConfigInvalid(start, "several versions begin so", hint=versions)
    return matching[-1].files if matching else {}


def _committed(folder: Path, ref: str) -> dict[str, str]:
    """Return the files that the rulebook's folder had in a commit of its repository."""
    where = folder if folder.is_dir() else folder.parent
    hint = "a folder, a version of `siyu rules status`, or a commit of the folder's repository"
    if ref.startswith("-"):
        raise ConfigInvalid(ref, "no such rulebook", hint=hint)
    done = subprocess.run(
        ["git", "-C", str(where), "archive", "--format=tar", ref],
        capture_output=True,
        check=False,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )
    if done.returncode:
        raise ConfigInvalid(ref, "no such rulebook", hint=hint)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        members = [m for m in tar if m.isfile() and m.name.endswith(SUFFIXES)]
        files = {m.name: (tar.extractfile(m) or io.BytesIO()).read().decode() for m in members}
    if not files:
        raise ConfigInvalid(ref, f"holds no rulebook in {where}", hint=hint)
    return files
