"""A queue on disk: what is put in survives kill -9, and is taken out in order, at least once.

Segments ``<number>.log`` hold frames of length, CRC-32 and payload. ``position`` names the
segment and byte up to which all was taken; it is replaced whole, so a kill leaves the old or
the new one. A frame that a kill cut short at the end of a segment was never promised: its
``put`` had not returned. A segment whose rest cannot be read is kept as ``<number>.torn``.
One process at a time has a folder.
"""

import fcntl
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Final, Self

from schemas.errors import ConfigInvalid

_FRAME: Final = struct.Struct(">II")
_POSITION: Final = "position"


class Full(Exception):
    """The bound is reached: wait until something was taken out."""


class Spool:
    """A bounded queue of payloads in a folder; safe to share between threads.

    ``put`` returns once the kernel has the payload (kill -9 loses nothing); ``sync`` once the
    disk has it (a power cut loses nothing). ``peek`` and ``drop`` are for one reader.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, segment_bytes: int = 8 * 1024 * 1024
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._max_bytes, self._segment_bytes = folder, max_bytes, segment_bytes
        self._lock = threading.Lock()
        self._locked = _lock(folder)
        self._read_segment, self._read_at = self._position()
        sizes = self._sizes()
        for number in [number for number in sizes if number < self._read_segment]:
            self._path(number).unlink()
        # A new segment each time: what a kill cut short stays the end of the old one.
        self._write_segment = max([self._read_segment - 1, *sizes]) + 1
        if not sizes or self._write_segment == self._read_segment:
            self._read_at = 0
        self._write = self._new_segment()
        self._write_at = 0
        self._dirty = False
        self._bytes = sum(self._sizes().values()) - self._read_at
        # Where the last peek stopped in each segment that it touched.
        self._peeked: dict[int, int] = {}

    @property
    def pending_bytes(self) -> int:
        """Bytes on disk that were not taken out yet, frames included."""
        return self._bytes

    def put(self, payload: bytes) -> None:
        """Append; raises ``Full``, and ``OSError`` where the disk fails (nothing is put then)."""
        frame = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        with self._lock:
            if self._bytes + len(frame) > self._max_bytes:
                raise Full
            if self._write_at >= self._segment_bytes:
                self._roll()
            self._append(frame)
            self._bytes += len(frame)
            self._dirty = True

    def peek(self, limit: int) -> list[bytes]:
        """Return up to ``limit`` payloads from the front; they stay until ``drop``."""
        payloads: list[bytes] = []
        with self._lock:
            segment, at, last = self._read_segment, self._read_at, self._write_segment
        self._peeked = {}
        while True:
            frames, self._peeked[segment] = _frames(self._path(segment), at, limit - len(payloads))
            payloads += frames
            if len(payloads) >= limit or segment >= last:
                return payloads
            segment, at = segment + 1, 0

    def drop(self) -> None:
        """Take out what the last ``peek`` returned, for ever."""
        if not self._peeked:
            return
        peeked, self._peeked = self._peeked, {}
        segment = max(peeked)
        self._keep_position(segment, peeked[segment])
        for number in range(self._read_segment, segment):
            self._finish(self._path(number), peeked.get(number, 0))
        with self._lock:
            self._read_segment, self._read_at = segment, peeked[segment]
            self._bytes = sum(self._sizes().values()) - self._read_at

    def sync(self) -> None:
        """Return once the disk has all that was put."""
        with self._lock:
            if self._dirty:
                os.fsync(self._write)
                self._dirty = False

    def close(self) -> None:
        """Sync and let go of the folder."""
        self.sync()
        os.close(self._write)
        os.close(self._locked)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _finish(path: Path, read_bytes: int) -> None:
        """Drop a segment that was read to its end; keep what could not be read for a look."""
        if path.exists():
            torn = path.stat().st_size > read_bytes
            path.replace(path.with_suffix(".torn")) if torn else path.unlink()

    def _append(self, frame: bytes) -> None:
        try:
            written = os.write(self._write, frame)
            if written < len(frame):
                raise OSError(f"{self._folder}: full after {written} of {len(frame)} bytes")  # noqa: TRY301 - one clean-up for both
        except OSError:
            # Half a frame would hide all that follows it.
            os.ftruncate(self._write, self._write_at)
            raise
        self._write_at += len(frame)

    def _roll(self) -> None:
        os.fsync(self._write)
        os.close(self._write)
        self._write_segment += 1
        self._write, self._write_at = self._new_segment(), 0

    def _new_segment(self) -> int:
        path = self._path(self._write_segment)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        _sync_folder(self._folder)
        return descriptor

    def _keep_position(self, segment: int, at: int) -> None:
        new = self._folder / f"{_POSITION}.new"
        with new.open("w", encoding="ascii") as file:
            file.write(f"{segment} {at}")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / _POSITION)
        _sync_folder(self._folder)

    def _position(self) -> tuple[int, int]:
        path = self._folder / _POSITION
        if not path.exists():
            return min(self._sizes(), default=0), 0
        segment, _, at = path.read_text("ascii").partition(" ")
        return int(segment), int(at)

    def _sizes(self) -> dict[int, int]:
        return {int(path.stem): path.stat().st_size for path in self._folder.glob("*.log")}

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.log"


def _frames(path: Path, at: int, limit: int) -> tuple[list[bytes], int]:
    """Return up to ``limit`` whole payloads of a segment from a byte on, and the byte behind."""
    payloads: list[bytes] = []
    if not path.exists():
        return payloads, at
    with path.open("rb") as file:
        file.seek(at)
        while len(payloads) < limit:
            head = file.read(_FRAME.size)
            if len(head) < _FRAME.size:
                break
            size, crc = _FRAME.unpack(head)
            payload = file.read(size)
            if len(payload) < size or zlib.crc32(payload) != crc:
                break
            payloads.append(payload)
            at += _FRAME.size + size
    return payloads, at


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as locked:
        os.close(descriptor)
        hint = "give each process a folder of its own"
        raise ConfigInvalid(folder, "another process has this spool", hint=hint) from locked
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
