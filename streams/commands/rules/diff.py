"""`siyu rules diff`: two rulebooks over the same history: who gains a touch, who loses one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, Self

from schemas.events import Event
from schemas.settings import Settings
from schemas.touches import Decision
from sinks.clickhouse.history import History
from streams.commands.rules.backtest import Runnable, runnable
from streams.commands.rules.compare import Span
from streams.commands.rules.fanout import fan_out
from streams.commands.rules.tally import as_sample, fires
from streams.core.replay import decisions_of
from streams.core.rulebook import Rulebook
from streams.runtime.rulebooks.sources import Book

_SAMPLES: Final = 3
Change = Literal["same", "changed", "status", "added", "removed"]
Pair = tuple[Decision | None, Decision | None]


@dataclass(slots=True)
class RuleDiff:
    """One rule under both: touches, users reached, and users that only one of them reaches."""

    fires: list[int] = field(default_factory=lambda: [0, 0])
    reach: list[int] = field(default_factory=lambda: [0, 0])
    gains: list[Pair] = field(default_factory=list)
    loses: list[Pair] = field(default_factory=list)
    gain: int = 0
    lose: int = 0

    def merge(self, other: Self) -> None:
        """Take in the same rule's figures of other users."""
        for side in (0, 1):
            self.fires[side] += other.fires[side]
            self.reach[side] += other.reach[side]
        self.gains += other.gains
        self.loses += other.loses
        self.gain += other.gain
        self.lose += other.lose

    def add_user(self, old: Sequence[Decision], new: Sequence[Decision]) -> None:
        """Count a user's decisions of this rule under both."""
        fired = [sum(map(fires, said)) for said in (old, new)]
        for side, count in enumerate(fired):
            self.fires[side] += count
            self.reach[side] += bool(count)
        if bool(fired[0]) == bool(fired[1]):
            return
        pair = _decisive(old), _decisive(new)
        if fired[1]:
            self.gain += 1
            self.gains = [*self.gains, pair][:_SAMPLES]
        else:
            self.lose += 1
            self.loses = [*self.loses, pair][:_SAMPLES]


@dataclass(slots=True)
class Diffs:
    """All rules of both rulebooks."""

    rules: dict[str, RuleDiff] = field(default_factory=dict)
    users: int = 0
    events: int = 0
    unfoldable: int = 0

    def merge(self, other: Self) -> None:
        """Take in what came of other users."""
        for rule, diff in other.rules.items():
            self.rules.setdefault(rule, RuleDiff()).merge(diff)
        self.users += other.users
        self.events += other.events
        self.unfoldable += other.unfoldable


class DiffFold:
    """Folds each user under both rulebooks."""

    def __init__(self, old: Runnable, new: Runnable, span: Span) -> None:
        self._engines, self._span = (old.engine(), new.engine()), span
        self.totals = Diffs()

    def user(self, user: str, events: list[Event], /) -> None:
        """Take a user with all the user's events, in log order."""
        totals, by_rule = self.totals, dict[str, tuple[list[Decision], list[Decision]]]()
        totals.users += 1
        totals.events += len(events)
        for side, engine in enumerate(self._engines):
            said, left_out = decisions_of(engine, user, events, self._span.until_ms)
            totals.unfoldable += len(left_out)
            for _, decision in said:
                if decision.time_ms >= self._span.from_ms:
                    by_rule.setdefault(decision.rule, ([], []))[side].append(decision)
        for rule, (old, new) in by_rule.items():
            totals.rules.setdefault(rule, RuleDiff()).add_user(old, new)


def diff(
    settings: Settings,
    old: Book,
    new: Book,
    span: Span,
    *,
    processes: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Return the report: for each rule how often it fires, whom it reaches, who gains and loses."""
    both = runnable(settings, old), runnable(settings, new)
    books = both[0].load(), both[1].load()
    extent = History(settings.clickhouse, span.until_ms).extent()
    began_s = time.perf_counter()
    totals: Diffs = fan_out(
        settings.clickhouse,
        span.until_ms,
        extent,
        partial(DiffFold, *both, span),
        processes=processes,
        title="" if quiet else "diff",
    )
    rules = dict.fromkeys(defined.id for book in books for defined in book.rules)
    return {
        "diff": {
            "old": {"name": old.name, "rulebook": old.version},
            "new": {"name": new.name, "rulebook": new.version},
            "from_ms": span.from_ms,
            "to_ms": span.until_ms,
        },
        "events": totals.events,
        "users": totals.users,
        "unfoldable": totals.unfoldable,
        "seconds": round(time.perf_counter() - began_s, 2),
        "rules": {
            rule: {"change": _change(rule, *books)}
            | _rule_as_json(totals.rules.get(rule, RuleDiff()))
            for rule in rules
        },
    }


def _change(rule: str, old: Rulebook, new: Rulebook) -> Change:
    if rule not in old.versions:
        return "added"
    if rule not in new.versions:
        return "removed"
    if old.versions[rule] != new.versions[rule]:
        return "changed"
    before, after = (
        {defined.id: defined.status for defined in book.rules}[rule] for book in (old, new)
    )
    return "same" if before == after else "status"


def _rule_as_json(figures: RuleDiff) -> dict[str, Any]:
    def samples(pairs: list[Pair]) -> list[dict[str, Any]]:
        return [
            {
                "user": _user_of(pair),
                "old": as_sample(pair[0]) if pair[0] else None,
                "new": as_sample(pair[1]) if pair[1] else None,
            }
            for pair in sorted(pairs, key=_user_of)[:_SAMPLES]
        ]

    return {
        "fires_old": figures.fires[0],
        "fires_new": figures.fires[1],
        "reach_old": figures.reach[0],
        "reach_new": figures.reach[1],
        "gain": figures.gain,
        "lose": figures.lose,
        "gains": samples(figures.gains),
        "loses": samples(figures.loses),
    }


def _user_of(pair: Pair) -> str:
    return next(decision.user for decision in pair if decision)


def _decisive(said: Sequence[Decision]) -> Decision | None:
    """Return the decisive one: the first that fires, else the last."""
    return next((decision for decision in said if fires(decision)), said[-1] if said else None)
