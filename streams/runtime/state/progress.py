"""Progress of restores: a bar for each partition on a terminal, log lines elsewhere."""

import sys
import time
from typing import Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

log = structlog.get_logger()

_TELL_EVERY_S: Final = 2.0
# Shorter than this, a restore shows nothing but its end.
_BAR_FROM_RECORDS: Final = 50_000


class _Bars:
    """The bars of all restores of this process, drawn together; gone when the last one ends."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._count = 0

    def add(self, title: str, total: int) -> int | None:
        """Draw one more bar; ``None`` where nobody looks at a terminal."""
        if not sys.stderr.isatty() or total < _BAR_FROM_RECORDS:
            return None
        if self._progress is None:
            columns = ("{task.description}", BarColumn(), MofNCompleteColumn())
            self._progress = Progress(
                *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
            )
            self._progress.start()
        self._count += 1
        return int(self._progress.add_task(title, total=total))

    def at(self, bar: int, done: int) -> None:
        """Move a bar."""
        if self._progress is not None:
            self._progress.update(bar, completed=done)  # type: ignore[arg-type]

    def drop(self, bar: int) -> None:
        """Take a bar away."""
        self._count -= 1
        if self._progress is not None:
            self._progress.remove_task(bar)  # type: ignore[arg-type]
            if not self._count:
                self._progress.stop()
                self._progress = None


_BARS: Final = _Bars()


class RestoreProgress:
    """How far the restore of one partition is: ``total`` changelog offsets to read."""

    def __init__(self, topic: str, partition: int, total: int) -> None:
        self._topic, self._partition, self._total = topic, partition, total
        self._began_s = self._told_s = time.monotonic()
        self._bar = _BARS.add(f"restore {topic}-{partition}", total)

    def at(self, done: int, keys: int) -> None:
        """Note how many offsets are behind, and how many keys there are."""
        now_s = time.monotonic()
        if self._bar is not None:
            _BARS.at(self._bar, done)
        elif now_s - self._told_s > _TELL_EVERY_S:
            self._told_s = now_s
            self._tell("restoring", keys, percent=round(100 * done / self._total))

    def end(self, keys: int | None) -> None:
        """Take the bar away; tell of the end, unless it failed (``None``)."""
        if self._bar is not None:
            _BARS.drop(self._bar)
        if keys is not None:
            self._tell("restored", keys, records=self._total)

    def _tell(self, event: str, keys: int, **figures: int) -> None:
        seconds = round(time.monotonic() - self._began_s, 2)
        log.info(event, topic=self._topic, partition=self._partition, keys=keys,
                 seconds=seconds, **figures)  # fmt: skip
