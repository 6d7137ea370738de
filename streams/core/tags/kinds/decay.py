"""Scores: each event adds its weight, which halves in every half-life; ``merge`` adds."""
# ruff: noqa: D102 - the methods and their arguments are those of the protocol

from typing import ClassVar, cast

from streams.core.state.cells import Cell
from streams.core.tags.getters import Weighed
from streams.core.tags.periods import KEEP, Periods, add_all, place, prune, rescale, weight
from streams.core.tags.values import Value, scaled, unscaled
from streams.core.tags.windows import bounded


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

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        periods, more = self._periods(cell, clock_ms), self._periods(other, clock_ms)
        if not periods:
            cell[2] = other[2]
        add_all(periods, more, other[2] - cell[2])
        prune(periods, clock_ms // self._half_life_ms - cell[2])
        cell[3] = self._score(cell, clock_ms)
        return cell

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
