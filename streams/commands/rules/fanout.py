"""History through several processes: each folds whole users, and what they found is merged.

A user's events depend on nobody else's, so parts of users need no order among them.
"""

import gc
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, Final, Protocol

from schemas.events import Event
from sinks.clickhouse.history import Extent, History
from streams.runtime.progress import progress_of

# What the server sorts and groups at once for one part: each part is a look at the whole table.
EVENTS_PER_PART: Final = 1_000_000
_COUNT_EVERY_EVENTS: Final = 2000
# Less is done here before another process has started.
_ALONE_EVENTS: Final = 20_000


class Fold(Protocol):
    """Folds one user after the other; made in the process in which it runs."""

    @property
    def totals(self) -> Any:  # noqa: ANN401 - each fold finds its own
        """What came of the users; ``merge(other)`` takes in what came of others."""

    def user(self, user: str, events: list[Event], /) -> None:
        """Take a user with all the user's events, in log order."""


_here: dict[str, Any] = {}


def fan_out(
    url: str,
    until_ms: int,
    extent: Extent,
    make: Callable[[], Fold],
    *,
    processes: int | None = None,
    title: str = "",
    clocked: bool = False,
) -> Any:  # noqa: ANN401 - whatever the folds find
    """Return what the folds found over all users, merged; progress on stderr if it has a title."""
    if extent.events <= _ALONE_EVENTS:
        history, fold = History(url, until_ms, clocked=clocked), make()
        for user, events in history.users(0, 1):
            fold.user(user, events)
        return fold.totals
    processes = processes or os.cpu_count() or 1
    # As many for each process, so that none is left alone with the last one.
    parts = processes * max(1, -(-extent.events // (EVENTS_PER_PART * processes)))
    context = multiprocessing.get_context(_start_method())
    done = context.Value("Q", 0)
    with ProcessPoolExecutor(
        processes,
        context,
        initializer=_prepare,
        initargs=((url, until_ms, clocked), make, done),
    ) as pool:
        # The bar has a thread, so it comes after the processes.
        waiting = {pool.submit(_fold_part, part, parts) for part in range(parts)}
        with progress_of(title, extent.events, quiet=not title) as progress:
            return _gather(waiting, lambda: progress(done.value))


def _start_method() -> str:
    """Return how to start processes: as copies of this one, which has all modules, if they can be.

    Another thread may hold a lock that nobody would give back in the copy.
    """
    alone = threading.active_count() == 1
    return "fork" if alone and sys.platform == "linux" else "spawn"


def _gather(waiting: set[Any], tick: Callable[[], None]) -> Any:  # noqa: ANN401 - as fan_out
    merged: Any = None
    try:
        while waiting:
            for part in _ended(waiting):
                waiting.discard(part)
                totals = part.result()
                if merged is None:
                    merged = totals
                else:
                    merged.merge(totals)
            tick()
    except BaseException:
        for part in waiting:
            part.cancel()
        raise
    return merged


def _ended(waiting: set[Any]) -> Iterable[Any]:
    try:
        return [next(as_completed(waiting, timeout=0.2))]
    except TimeoutError:
        return []


def _prepare(history: tuple[str, int, bool], make: Callable[[], Fold], done: Any) -> None:  # noqa: ANN401 - a shared counter
    url, until_ms, clocked = history
    _here["history"] = History(url, until_ms, threads=1, clocked=clocked)
    _here.update(make=make, done=done)
    gc.collect()
    gc.freeze()
    # A fold makes no cycles worth looking for at each few hundred objects.
    gc.set_threshold(100_000, 50, 100)


def _fold_part(part: int, parts: int) -> Any:  # noqa: ANN401 - as fan_out
    fold: Fold = _here["make"]()
    done, uncounted = _here["done"], 0
    for user, events in _here["history"].users(part, parts):
        fold.user(user, events)
        uncounted += len(events)
        if uncounted >= _COUNT_EVERY_EVENTS:
            with done.get_lock():
                done.value += uncounted
            uncounted = 0
    with done.get_lock():
        done.value += uncounted
    return fold.totals
