"""Scores that decay by half-lives.

A weight is put into the half-life that its event fell in, grown to that half-life's end
of scale, as a whole number: adding is exact, so late and out-of-order events count as if
they had come in time. What is 20 half-lives old (a millionth) is let go. ``merge`` adds.
"""
# ruff: noqa: D102 - the methods and their arguments are those of the protocol

from typing import ClassVar, Final, cast

from streams.core.state.cells import Cell
from streams.core.tags.kinds import Value, scaled, unscaled
from streams.core.tags.windows import bounded

KEEP: Final = 20
# Amounts by half-life, counted from the cell's base.
Periods = dict[int, int]
# What the catalogue makes of an event: its value, and what the event weighs.
Weighed = tuple[object, float]


def place(periods: Periods, base: int, at_ms: int, amount: float, half_life_ms: int) -> None:
    """Add an amount at a time; with no half-life (0) all time is one period."""
    if half_life_ms:
        period, rest_ms = divmod(at_ms, half_life_ms)
        period -= base
        grown = round(amount * 2 ** (rest_ms / half_life_ms))
    else:
        period, grown = 0, round(amount)
    periods[period] = bounded(periods[period] + grown) if period in periods else bounded(grown)


def weight(periods: Periods, last: int) -> int:
    """Return the weight at the start of a period, in 2**-20; what is later does not count."""
    return sum(
        [amount << KEEP - last + at for at, amount in periods.items() if last - KEEP <= at <= last]
    )


def rescale(cell: Cell, periods: Periods, half_life_ms: int, clock_ms: int) -> Periods:
    """Return the periods of a cell as ones of another half-life: the error is one old period."""
    made: Periods = {}
    was_ms, base = cell[1], clock_ms // half_life_ms if half_life_ms else 0
    for period, amount in periods.items():
        at_ms = (cell[2] + period) * was_ms if was_ms else clock_ms
        place(made, base, at_ms, amount, half_life_ms)
    return made


def prune(periods: Periods, newest: int) -> None:
    """Let go of what no read at or after the newest period can see."""
    if next(iter(periods), newest) < newest - KEEP:
        for old in [one for one in periods if one < newest - KEEP]:
            del periods[old]


def add_all(periods: Periods, more: Periods, shift: int) -> None:
    """Add the periods of another user, whose base is so much later."""
    for period, amount in more.items():
        here = period + shift
        periods[here] = bounded(periods.get(here, 0) + amount)


class Decay:
    """A score that halves in every half-life: ``[code, half_life_ms, base, shown, periods]``.

    Right when read, at any time; written at the tag's events and when it is 0 for good.
    ``shown`` is in ten-thousandths.
    """

    code: ClassVar[int] = ord("e")
    empty: ClassVar[Value] = 0

    def __init__(self, half_life_ms: int) -> None:
        self._half_life_ms, self.span_ms = half_life_ms, KEEP * half_life_ms

    def new(self) -> Cell:
        return [self.code, self._half_life_ms, 0, 0, {}]

    def accept(self, raw: object) -> object | None:
        value, factor = cast("Weighed", raw)
        amount = scaled(value)
        return None if amount is None else amount * factor

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: float) -> tuple[Value, Value]:
        before, periods = cell[3], self._periods(cell, clock_ms)
        if not periods:
            cell[2] = at_ms // self._half_life_ms
        place(periods, cell[2], at_ms, value, self._half_life_ms)
        prune(periods, clock_ms // self._half_life_ms - cell[2])
        cell[3] = after = self._score(cell, clock_ms)
        return unscaled(before), unscaled(after)

    def read(self, cell: Cell, at_ms: int) -> Value:
        return unscaled(self._score(cell, at_ms))

    def expiry_ms(self, cell: Cell) -> int:
        periods: Periods = cell[4]
        return (cell[2] + max(periods) + KEEP + 1) * cell[1] if cell[3] and periods else 0

    def bound_ms(self, cell: Cell, at_ms: int, clock_ms: int) -> int:
        bound_ms = (at_ms // self._half_life_ms + KEEP + 1) * self._half_life_ms
        return bound_ms if bound_ms > clock_ms else self.expiry_ms(cell)

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before, gone_ms = cell[3], self.expiry_ms(cell)
        cell[3] = after = self._score(cell, now_ms)
        return unscaled(before), unscaled(after), min(now_ms, gone_ms or now_ms)

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        periods, more = self._periods(one, clock_ms), self._periods(two, clock_ms)
        if not periods:
            one[2] = two[2]
        add_all(periods, more, two[2] - one[2])
        prune(periods, clock_ms // self._half_life_ms - one[2])
        one[3] = self._score(one, clock_ms)
        return one

    def _score(self, cell: Cell, at_ms: int) -> int:
        last, rest_ms = divmod(at_ms, self._half_life_ms)
        whole = weight(self._periods(cell, at_ms), last - cell[2])
        return bounded(round(whole / (1 << KEEP) * 2 ** (-rest_ms / self._half_life_ms)))

    def _periods(self, cell: Cell, clock_ms: int) -> Periods:
        if cell[1] != self._half_life_ms:
            cell[4] = rescale(cell, cell[4], self._half_life_ms, clock_ms)
            cell[1], cell[2] = self._half_life_ms, clock_ms // self._half_life_ms
        periods: Periods = cell[4]
        return periods
