"""Tells of long work: one line that is written over on a terminal, whole lines in a log.

Plain Python: the bootstrap uses it while nothing is installed yet.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

HowFar = Callable[[], str]
TERMINAL_EVERY_S: Final = 0.5
LOG_EVERY_S: Final = 15.0
_NARROW: Final = 80


@dataclass
class _Work:
    what: str
    more: str
    status: str = ""

    def text(self, *, whole: bool) -> str:
        head = self.what + self.more if whole else self.what
        return f"{head}: {self.status}" if self.status else head


class Progress:
    """One stream that is told what goes on; to be used from any thread. Quiet: it says nothing."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        prefix: str = "",
        quiet: bool = False,
        every_s: float | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self._prefix, self._quiet = prefix, quiet
        self._terminal = self._stream.isatty()
        self._every_s = every_s or (TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S)
        self._lock = threading.Lock()
        self._going_on: dict[object, _Work] = {}

    def __call__(self, line: str) -> None:
        """Tell a line that stays."""
        if self._quiet:
            return
        with self._lock:
            self._write(f"{self._erase()}{self._prefix}{line}\n{self._passing()}")

    @contextlib.contextmanager
    def work(self, what: str, more: str = "", how_far: HowFar = str) -> Iterator[None]:
        """Tell that ``what`` is going on, how far it is and since when, until the block ends.

        ``more`` follows ``what`` where there is room: in a log's first line of it, and on a
        terminal while nothing else goes on.
        """
        if self._quiet:
            yield
            return
        one, over, began_s = object(), threading.Event(), time.monotonic()

        def tick() -> None:
            while not over.wait(self._every_s):
                seconds = f"{time.monotonic() - began_s:.0f} s"
                status = ", ".join(filter(None, (how_far(), seconds)))
                self._tell(one, _Work(what, more, status))

        self._tell(one, _Work(what, more))
        ticker = threading.Thread(target=tick, name="progress", daemon=True)
        ticker.start()
        try:
            yield
        finally:
            over.set()
            ticker.join()
            with self._lock:
                del self._going_on[one]
                if self._terminal:
                    self._write(self._erase() + self._passing())

    def _tell(self, one: object, work: _Work) -> None:
        with self._lock:
            self._going_on[one] = work
            if self._terminal:
                self._write(self._erase() + self._passing())
            else:
                self._write(f"{self._prefix}{work.text(whole=not work.status)}\n")

    def _passing(self) -> str:
        """Return the line that the next one replaces: all that goes on, cut to the terminal."""
        if not self._terminal or not self._going_on:
            return ""
        alone = len(self._going_on) == 1
        texts = [work.text(whole=alone) for work in self._going_on.values()]
        return (self._prefix + " | ".join(texts))[: self._width() - 1]

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _NARROW
        except (OSError, ValueError):
            return _NARROW

    def _erase(self) -> str:
        return "\r\x1b[K" if self._terminal else ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


QUIET: Final = Progress(quiet=True)


def megabytes(total: int, *folders: Path) -> HowFar:
    """Return what tells how much of ``total`` MB these folders have got so far."""
    most = 0

    def how_far() -> str:
        nonlocal most
        # A tool may throw its own copy away at the end: that is no step back.
        most = max(most, sum(map(_bytes, folders)) // 1_000_000)
        return f"{most} of {total} MB" if most < total else "unpacking"

    return how_far


def _bytes(folder: Path) -> int:
    size = 0
    # Not by rglob: it raises where a tool takes a folder away in between.
    for at, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += (Path(at) / name).lstat().st_size
    return size


def count(folder: Path, ending: str) -> int:
    """Return how many files under a folder, which may change meanwhile, end so."""
    return sum(name.endswith(ending) for _, _, names in os.walk(folder) for name in names)
