"""Progress of a command on stderr: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

log = structlog.get_logger()
_TELL_EVERY_S: Final = 2.0


@contextmanager
def bar(title: str, total: int | None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Yield what takes how much is done; ``quiet`` shows nothing."""
    if quiet:
        yield lambda _done: None
    elif sys.stderr.isatty():
        columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.update(task, completed=done)
    else:
        told_s = [time.monotonic()]

        def tell(done: int) -> None:
            if time.monotonic() - told_s[0] > _TELL_EVERY_S:
                told_s[0] = time.monotonic()
                log.info(title, done=done, of=total)

        yield tell
