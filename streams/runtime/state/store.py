"""Stores of a partition's committed state: in memory, or in RocksDB on disk.

A store holds committed values only, and the changelog position up to which it has
them; so whatever was not committed when a process ended is not in it.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from schemas.errors import PartMissing

Changes = Mapping[bytes, bytes | None] | Mapping[bytes, bytes]


class Store(Protocol):
    """Committed values of one partition; ``position`` is the next changelog offset to read."""

    position: int

    def get(self, key: bytes) -> bytes | None:
        """Return a key's value."""

    def apply(self, changes: Changes, position: int) -> None:
        """Set values (``None`` deletes) and the position, both or neither."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys with their values."""

    def keys(self) -> Iterator[bytes]:
        """Yield the keys of now; values may change meanwhile."""

    def clear(self) -> None:
        """Forget all."""

    def close(self) -> None:
        """Let go of files."""

    def __len__(self) -> int: ...


class MemoryStore:
    """A dict; gone with the process, refilled from the changelog."""

    def __init__(self) -> None:
        self.position = 0
        self._values: dict[bytes, bytes] = {}
        self.get = self._values.get

    def apply(self, changes: Changes, position: int) -> None:
        """Set values and the position."""
        values = self._values
        values.update(changes)  # type: ignore[arg-type] # a delete is taken out again below
        for key in [key for key, value in changes.items() if value is None]:
            del values[key]
        self.position = position

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys with their values."""
        return iter(self._values.items())

    def keys(self) -> Iterator[bytes]:
        """Yield the keys of now; values may change meanwhile."""
        return iter(list(self._values))

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()
        self.position = 0

    def close(self) -> None:
        """Do nothing: memory needs no closing."""

    def __len__(self) -> int:
        return len(self._values)


# Sorts before every user's key, none of which starts with NUL.
_POSITION: Final = b"\x00position"
_COUNT: Final = b"\x00count"
_LONG: Final = struct.Struct("<q")


class RocksStore:
    """RocksDB in a folder of its own; a restart reads only what the changelog has gained."""

    def __init__(self, folder: Path) -> None:
        try:
            import rocksdict
        except ImportError as missing:
            raise PartMissing(
                "rocksdb",
                "the package rocksdict is not installed",
                remedy="pip install 'siyu[rocksdb]', or set SIYU_WORKER_STORE=memory",
            ) from missing
        folder.mkdir(parents=True, exist_ok=True)
        self._batch = rocksdict.WriteBatch
        self._db: Any = rocksdict.Rdict(str(folder), rocksdict.Options(raw_mode=True))
        self.position = self._long(_POSITION)
        self._count = self._long(_COUNT)

    def _long(self, name: bytes) -> int:
        value = self._db.get(name)
        return 0 if value is None else int(_LONG.unpack(value)[0])

    def get(self, key: bytes) -> bytes | None:
        """Return a key's value."""
        value: bytes | None = self._db.get(key)
        return value

    def apply(self, changes: Changes, position: int) -> None:
        """Set values and the position in one atomic write."""
        batch = self._batch(raw_mode=True)
        for key, value in changes.items():
            there = key in self._db
            if value is None:
                batch.delete(key)
                self._count -= there
            else:
                batch.put(key, value)
                self._count += not there
        batch.put(_POSITION, _LONG.pack(position))
        batch.put(_COUNT, _LONG.pack(self._count))
        self._db.write(batch)
        self.position = position

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys with their values."""
        for key, value in self._db.items():
            if key not in (_POSITION, _COUNT):
                yield key, value

    def keys(self) -> Iterator[bytes]:
        """Yield the keys of now; values may change meanwhile."""
        for key in self._db.keys():  # noqa: SIM118 - no dict: it is not iterable itself
            if key not in (_POSITION, _COUNT):
                yield key

    def clear(self) -> None:
        """Forget all."""
        for key, _ in list(self._db.items()):
            del self._db[key]
        self.position = self._count = 0

    def close(self) -> None:
        """Let go of the folder, so that another process can open it."""
        self._db.close()

    def __len__(self) -> int:
        return self._count
