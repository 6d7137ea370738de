"""`siyu rules backtest`: what a rulebook would have done with the history in ClickHouse."""

import time
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from schemas.errors import ConfigInvalid
from schemas.events import Event
from schemas.faults import suggest
from schemas.settings import Settings
from sinks.clickhouse.history import History
from streams.authoring.load import load_rulebook
from streams.authoring.plan import load_plan
from streams.commands.rules.compare import Span, compare
from streams.commands.rules.fanout import fan_out
from streams.commands.rules.tally import RuleTally, Tally
from streams.core.decisions_only import decider
from streams.core.engine import Engine
from streams.core.replay import decisions_of
from streams.core.rulebook import Rulebook
from streams.runtime.rulebooks.sources import Book


@dataclass(frozen=True, slots=True)
class Runnable:
    """What an engine is made of, in any process. ``awake`` names a rule to run as if live."""

    folder: Path
    plan: Path
    settle_ms: int
    awake: str | None = None

    def load(self) -> Rulebook:
        """Return the rulebook; raises ``ConfigInvalid``."""
        rulebook = load_rulebook(self.folder, load_plan(self.plan))
        if self.awake is not None and self.awake not in rulebook.versions:
            hint = suggest(self.awake, rulebook.versions)
            raise ConfigInvalid(self.folder, f"unknown rule {self.awake}", hint=hint)
        return rulebook

    def engine(self) -> Engine:
        """Return the engine, made once in each process."""
        return _engine(self)


class BacktestFold:
    """Folds users for a backtest."""

    def __init__(self, book: Runnable, span: Span, *, kept: bool) -> None:
        self._engine, self._span = book.engine(), span
        self.totals = Tally(said={} if kept else None)

    def user(self, user: str, events: list[Event], /) -> None:
        """Take a user with all the user's events, in log order."""
        said, left_out = decisions_of(self._engine, user, events, self._span.until_ms)
        self.totals.users += 1
        self.totals.events += len(events)
        self.totals.leave_out(left_out)
        from_ms = self._span.from_ms
        self.totals.add_user([decision for decision in said if decision[1].time_ms >= from_ms])


def runnable(settings: Settings, book: Book, *, awake: str | None = None) -> Runnable:
    """Return what processes make an engine of; the rulebook is compiled once here, as a check."""
    book_to_run = Runnable(book.folder.resolve(), settings.plan, settings.timer_settle_ms, awake)
    book_to_run.engine()
    return book_to_run


def backtest(
    settings: Settings,
    book: Book,
    span: Span,
    *,
    rule: str | None = None,
    live: bool = False,
    processes: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Return the report; with a ``rule``, it runs as if live.

    ``live`` holds the decisions against those that were made: see ``compare``.
    """
    to_run = runnable(settings, book, awake=rule)
    rulebook = to_run.load()
    extent = History(settings.clickhouse, span.until_ms).extent()
    began_s = time.perf_counter()
    tally: Tally = fan_out(
        settings.clickhouse,
        span.until_ms,
        extent,
        partial(BacktestFold, to_run, span, kept=live),
        processes=processes,
        title="" if quiet else "backtest",
        clocked=live,
    )
    seconds = time.perf_counter() - began_s
    wanted = [defined for defined in rulebook.rules if rule in (None, defined.id)]
    report = {
        "backtest": {
            "rulebook": book.version,
            "name": book.name,
            "from_ms": span.from_ms,
            "to_ms": span.until_ms,
        },
        "events": tally.events,
        "users": tally.users,
        "unfoldable": tally.unfoldable,
        "unfoldable_samples": tally.problems,
        "seconds": round(seconds, 2),
        "events_per_s": round(tally.events / seconds) if seconds else 0,
        "rules": {
            defined.id: {"status": defined.status, "version": rulebook.versions[defined.id]}
            | tally.rules.get(defined.id, RuleTally()).as_json()
            for defined in wanted
        },
    }
    if live:
        report["live"] = compare(settings, tally.said or {}, span, rule)
    return report


@lru_cache(maxsize=4)
def _engine(book: Runnable) -> Engine:
    rulebook = book.load()
    rules = tuple(
        rule.model_copy(update={"status": "live"})
        if rule.id == book.awake and rule.status in ("draft", "paused")
        else rule
        for rule in rulebook.rules
    )
    return decider(replace(rulebook, rules=rules), settle_ms=book.settle_ms)
