"""Progress on stderr: a bar on a terminal, elsewhere a log line every few seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

log = structlog.get_logger()

_LOG_EVERY_S: Final = 2.0
# Shorter than this, a restore shows nothing but its end.
_BAR_FROM_RECORDS: Final = 50_000


class _Bars:
    """The bars of this process, drawn together; gone when the last one ends."""

    def __init__(self) -> None:
        self._drawn: RichProgress | None = None
        self._count = 0

    def add(self, title: str, total: int | None) -> TaskID | None:
        """Draw one more bar; ``None`` where nobody looks at a terminal."""
        if not sys.stderr.isatty():
            return None
        if self._drawn is None:
            self._drawn = RichProgress(
                "{task.description}",
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._drawn.start()
        self._count += 1
        return self._drawn.add_task(title, total=total)

    def move(self, bar: TaskID, done: int) -> None:
        """Move a bar."""
        if self._drawn is not None:
            self._drawn.update(bar, completed=done)

    def remove(self, bar: TaskID) -> None:
        """Take a bar away."""
        self._count -= 1
        if self._drawn is not None:
            self._drawn.remove_task(bar)
            if not self._count:
                self._drawn.stop()
                self._drawn = None


_BARS: Final = _Bars()


class _Steps:
    """One piece of work: moves its bar, or calls *log_step* every few seconds."""

    def __init__(
        self, title: str, total: int | None, log_step: Callable[[int], None], *, bar: bool = True
    ) -> None:
        self._log_step, self._logged_s = log_step, time.monotonic()
        self._bar = _BARS.add(title, total) if bar else None

    def at(self, done: int) -> None:
        """Note how much is done."""
        if self._bar is not None:
            _BARS.move(self._bar, done)
        elif time.monotonic() - self._logged_s > _LOG_EVERY_S:
            self._logged_s = time.monotonic()
            self._log_step(done)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            _BARS.remove(self._bar)


@contextmanager
def progress_of(
    title: str, total: int | None, *, quiet: bool = False
) -> Iterator[Callable[[int], None]]:
    """Yield what takes how much of a command's work is done; ``quiet`` shows nothing."""
    if quiet:
        yield lambda _done: None
        return
    steps = _Steps(title, total, lambda done: log.info(title, done=done, of=total))
    try:
        yield steps.at
    finally:
        steps.end()


class RestoreProgress:
    """How far the restore of one partition is: ``total`` changelog offsets to read."""

    def __init__(self, topic: str, partition: int, total: int) -> None:
        self._topic, self._partition, self._total = topic, partition, total
        self._began_s = time.monotonic()
        self._keys = 0
        self._steps = _Steps(
            f"restore {topic}-{partition}", total, self._log_step, bar=total >= _BAR_FROM_RECORDS
        )

    def at(self, done: int, keys: int) -> None:
        """Note how many offsets are behind, and how many keys there are."""
        self._keys = keys
        self._steps.at(done)

    def end(self, keys: int | None) -> None:
        """Take the bar away; log the end, unless it failed (``None``)."""
        self._steps.end()
        if keys is not None:
            self._keys = keys
            self._log("restored", records=self._total)

    def _log_step(self, done: int) -> None:
        self._log("restoring", percent=round(100 * done / self._total))

    def _log(self, event: str, **figures: int) -> None:
        log.info(
            event,
            topic=self._topic,
            partition=self._partition,
            keys=self._keys,
            seconds=round(time.monotonic() - self._began_s, 2),
            **figures,
        )
