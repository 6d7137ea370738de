"""Scores that decay, and what is held by key: preferences and counts.

A weight is put into the half-life that its event fell in, grown to that half-life's end
of scale, as a whole number: adding is exact, so late and out-of-order events count as if
they had come in time. What is 20 half-lives old (a millionth) is let go. ``merge`` adds.
Kinds by key promise order-independence and merges as long as a user has no more keys
than are kept; over that the lightest (or the longest unseen) is forgotten.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from typing import Any, Final, cast

from streams.core.aggregates import key_text
from streams.core.kinds import SCALE, Lasting, Pick, Value, scaled
from streams.core.state import Cell
from streams.core.windows import bounded

KEEP: Final = 20
Periods = dict[int, int]
# What the catalogue makes of an event: its value, and what the event weighs.
Weighed = tuple[object, float]


def place(periods: Periods, at_ms: int, amount: float, half_life_ms: int) -> None:
    """Add an amount at a time; with no half-life (0) all time is one period."""
    period, rest_ms = divmod(at_ms, half_life_ms) if half_life_ms else (0, 0)
    grown = round(amount * 2 ** (rest_ms / half_life_ms)) if rest_ms else round(amount)
    periods[period] = bounded(periods.get(period, 0) + grown)


def weight(periods: Periods, last: int) -> int:
    """Return the weight at the start of a period, in 2**-20; what is later does not count."""
    return sum(
        [amount << KEEP - last + at for at, amount in periods.items() if last - KEEP <= at <= last]
    )


def rescale(periods: Periods, was_ms: int, half_life_ms: int, clock_ms: int) -> Periods:
    """Return periods of another half-life as ones of this: the error is one old period."""
    made: Periods = {}
    for period, amount in periods.items():
        place(made, period * was_ms if was_ms else clock_ms, amount, half_life_ms)
    return made


def prune(periods: Periods, newest: int) -> None:
    """Let go of what no read at or after the newest period can see."""
    for old in [one for one in periods if one < newest - KEEP]:
        del periods[old]


def add_all(periods: Periods, more: Periods) -> None:
    """Add the periods of another user."""
    for period, amount in more.items():
        periods[period] = bounded(periods.get(period, 0) + amount)


class Decay:
    """A score that halves in every half-life: ``[code, half_life_ms, shown, periods]``.

    Right when read, at any time; written at the tag's events and when it is 0 for good.
    """

    code = "e"
    empty: Value = 0

    def __init__(self, half_life_ms: int) -> None:
        self._half_life_ms = half_life_ms

    def new(self) -> Cell:
        return [self.code, self._half_life_ms, 0, {}]

    def accept(self, raw: object) -> object | None:
        value, factor = cast("Weighed", raw)
        amount = scaled(value)
        return None if amount is None else amount * factor

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: float) -> tuple[Value, Value]:
        before, periods = cell[2], self._periods(cell, clock_ms)
        place(periods, at_ms, value, self._half_life_ms)
        prune(periods, clock_ms // self._half_life_ms)
        cell[2] = after = self.read(cell, clock_ms)
        return before, after

    def read(self, cell: Cell, at_ms: int) -> Value:
        last, rest_ms = divmod(at_ms, self._half_life_ms)
        whole = weight(self._periods(cell, at_ms), last) / (SCALE << KEEP)
        score = round(whole * 2 ** (-rest_ms / self._half_life_ms), 4)
        return int(score) if score.is_integer() else score

    def expiry_ms(self, cell: Cell) -> int:
        periods: Periods = cell[3]
        return (max(periods) + KEEP + 1) * cell[1] if cell[2] and periods else 0

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before, gone_ms = cell[2], self.expiry_ms(cell)
        cell[2] = after = self.read(cell, now_ms)
        return before, after, min(now_ms, gone_ms or now_ms)

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        add_all(self._periods(one, clock_ms), self._periods(two, clock_ms))
        prune(one[3], clock_ms // self._half_life_ms)
        one[2] = self.read(one, clock_ms)
        return one

    def _periods(self, cell: Cell, clock_ms: int) -> Periods:
        if cell[1] != self._half_life_ms:
            cell[3] = rescale(cell[3], cell[1], self._half_life_ms, clock_ms)
            cell[1] = self._half_life_ms
        periods: Periods = cell[3]
        return periods


class TopK(Lasting):
    """The heaviest values: ``[code, half_life_ms, shown, {value: periods}, newest]``.

    All weights decay alike, so time alone never changes the order: it is told at the
    newest event, and the favourite of a user who is away stays the favourite. Of equals
    the first by text leads. 16 values are held (four times k if that is more).
    """

    code = "k"
    empty: Value = None

    def __init__(self, k: int, half_life_ms: int) -> None:
        self._k, self._half_life_ms, self._most = k, half_life_ms, max(16, 4 * k)

    def new(self) -> Cell:
        return [self.code, self._half_life_ms, None, {}, 0]

    def accept(self, raw: object) -> object | None:
        value, factor = cast("Weighed", raw)
        key = key_text(value)
        return None if key is None else (key, round(factor * SCALE))

    def fold(
        self, cell: Cell, at_ms: int, clock_ms: int, value: tuple[str, int]
    ) -> tuple[Value, Value]:
        keys = self._keys(cell, clock_ms)
        before, (key, amount) = cell[2], value
        periods = keys.setdefault(key, {})
        place(periods, at_ms, amount, self._half_life_ms)
        period, newest = at_ms // self._half_life_ms if self._half_life_ms else 0, cell[4]
        # Within one newest period only this value's weight moved: it or none comes forward.
        near = newest - KEEP <= period <= newest and len(keys) <= self._most
        if not near or before is None or len(before) != self._k:
            return before, self._rank(cell)
        if before[0] != key or self._k > 1:
            few = sorted((-weight(keys[one], newest), one) for one in {*before, key})
            cell[2] = [one for _, one in few[: self._k]]
        return before, cell[2]

    def read(self, cell: Cell, at_ms: int) -> Value:
        shown: list[str] | None = cell[2]
        return shown if shown is None else shown[: self._k]

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        keys = self._keys(one, clock_ms)
        for key, periods in self._keys(two, clock_ms).items():
            add_all(keys.setdefault(key, {}), periods)
        self._rank(one)
        return one

    def _rank(self, cell: Cell) -> Value:
        keys: dict[str, Periods] = cell[3]
        newest = max((max(periods) for periods in keys.values()), default=0)
        order = sorted((-weight(periods, newest), key) for key, periods in keys.items())
        # What lies wholly before the newest 20 half-lives weighs nothing.
        heavy = [(light, key) for light, key in order if light][: self._most]
        for _, key in set(order) - set(heavy):
            del keys[key]
        for periods in keys.values():
            prune(periods, newest)
        cell[2], cell[4] = [key for _, key in heavy[: self._k]] or None, newest
        shown: Value = cell[2]
        return shown

    def _keys(self, cell: Cell, clock_ms: int) -> dict[str, Periods]:
        keys: dict[str, Periods] = cell[3]
        if cell[1] != self._half_life_ms:
            for key, periods in keys.items():
                keys[key] = rescale(periods, cell[1], self._half_life_ms, clock_ms)
            cell[1] = self._half_life_ms
            self._rank(cell)
        return keys


class PerKey(Lasting):
    """Counts by value: ``[code, {value: [count, latest_ms]}]``, of those seen last."""

    code = "p"
    empty: Value = None

    def __init__(self, most: int) -> None:
        self._most = most
        self.accept = key_text

    def new(self) -> Cell:
        return [self.code, {}]

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: str) -> tuple[Value, Value]:
        before = self.read(cell, at_ms)
        self._add(cell[1], value, 1, at_ms)
        return before, self.read(cell, at_ms)

    def read(self, cell: Cell, at_ms: int) -> Value:
        return {key: held[0] for key, held in cell[1].items()} or None

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        for key, (count, latest_ms) in two[1].items():
            self._add(one[1], key, count, latest_ms)
        return one

    def _add(self, keys: dict[str, Any], key: str, count: int, at_ms: int) -> None:
        held = keys.setdefault(key, [0, at_ms])
        held[0], held[1] = bounded(held[0] + count), max(held[1], at_ms)
        while len(keys) > self._most:
            del keys[min(keys, key=lambda one: (keys[one][1], one))]


class FirstLast(Lasting):
    """The values of the first and of the last event: ``[code, first cell, last cell]``."""

    code = "h"
    empty: Value = None
    _first, _last = Pick("f", latest=False), Pick("l", latest=True)

    def new(self) -> Cell:
        return [self.code, self._first.new(), self._last.new()]

    def accept(self, raw: object) -> object | None:
        return self._first.accept(raw)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Value) -> tuple[Value, Value]:
        before = self.read(cell, at_ms)
        self._first.fold(cell[1], at_ms, clock_ms, value)
        self._last.fold(cell[2], at_ms, clock_ms, value)
        return before, self.read(cell, at_ms)

    def read(self, cell: Cell, at_ms: int) -> Value:
        if cell[1][1] is None:
            return None
        return {"first": cell[1][2], "last": cell[2][2]}

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        first = self._first.merge(one[1], two[1], clock_ms)
        return [self.code, first, self._last.merge(one[2], two[2], clock_ms)]
