"""Means and extremes: ever, or in a sliding window of tiles; missing where there is nothing.

All are joined by functions for which order and grouping do not matter: late and
out-of-order events count fully, and ``merge`` is exact. Windows err by at most a tile (a
96th of the window) at either end.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Final

from streams.core.state.cells import Cell
from streams.core.tags.kind import Lasting
from streams.core.tags.values import Value, scaled, unscaled
from streams.core.tags.windows import Window, bounded


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What is kept of values, how two make one, and how it is shown."""

    accept: Callable[[object], Any]
    join: Callable[[Any, Any], Any]
    show: Callable[[Any], Value]


class Lifelong(Lasting):
    """An aggregate over all time: ``[code, kept]``."""

    empty: ClassVar[Value] = None

    def __init__(self, code: str, aggregate: Aggregate) -> None:
        self.code, self._aggregate = ord(code), aggregate
        self.accept = aggregate.accept

    def new(self) -> Cell:
        return [self.code, None]

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Any) -> tuple[Value, Value]:  # noqa: ANN401 - what accept made
        before = self.read(cell, at_ms)
        cell[1] = value if cell[1] is None else self._aggregate.join(cell[1], value)
        return before, self._aggregate.show(cell[1])

    def read(self, cell: Cell, at_ms: int) -> Value:
        return None if cell[1] is None else self._aggregate.show(cell[1])

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        if other[1] is not None:
            self.fold(cell, clock_ms, clock_ms, other[1])
        return cell


class Sliding:
    """An aggregate over a sliding window: the cell of a ``Window``."""

    empty: ClassVar[Value] = None

    def __init__(self, code: str, aggregate: Aggregate, window_ms: int) -> None:
        self.code, self._aggregate = ord(code), aggregate
        self._window = Window(window_ms, aggregate.join)
        self.accept, self.bound_ms = aggregate.accept, self._window.bound_ms
        self.span_ms = window_ms

    def new(self) -> Cell:
        return self._window.new(self.code, None)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Any) -> tuple[Value, Value]:  # noqa: ANN401 - what accept made
        before = cell[2]
        self._window.add(cell, at_ms, value, clock_ms)
        cell[2] = after = self.read(cell, clock_ms)
        return before, after

    def read(self, cell: Cell, at_ms: int) -> Value:
        amounts = self._window.within(cell, at_ms)
        return self._aggregate.show(reduce(self._aggregate.join, amounts)) if amounts else None

    def expiry_ms(self, cell: Cell) -> int:
        return 0 if cell[2] is None else self._window.empty_at_ms(cell)

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before, empty_ms = cell[2], self._window.empty_at_ms(cell)
        cell[2] = after = self.read(cell, now_ms)
        return before, after, min(now_ms, empty_ms or now_ms)

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        merged = self._window.merge(cell, other, clock_ms)
        merged[2] = self.read(merged, clock_ms)
        return merged


def _pair(raw: object) -> list[int] | None:
    amount = scaled(raw)
    return None if amount is None else [amount, 1]


def _join_pairs(pair: list[int], other: list[int]) -> list[int]:
    return [bounded(pair[0] + other[0]), pair[1] + other[1]]


def _mean(pair: list[int]) -> Value:
    return unscaled(round(pair[0] / pair[1]))


AVG: Final = Aggregate(_pair, _join_pairs, _mean)
MIN: Final = Aggregate(scaled, min, unscaled)
MAX: Final = Aggregate(scaled, max, unscaled)
