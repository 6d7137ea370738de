"""Counts and sums: ever, or in a sliding window of tiles; 0 where there is nothing."""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from streams.core.state.cells import Cell
from streams.core.tags.kind import Lasting
from streams.core.tags.values import Value, scaled, unscaled
from streams.core.tags.windows import MAX_TOTAL, Window, bounded


class Ever(Lasting):
    """A count or sum over all time: ``[code, total]``."""

    empty: ClassVar[Value] = 0

    def __init__(self, code: str, amount: "Amount") -> None:
        self.code, self._show = ord(code), amount.show
        self.accept = amount.accept

    def new(self) -> Cell:
        return [self.code, 0]

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: int) -> tuple[Value, Value]:
        before: int = cell[1]
        after = before + value
        cell[1] = after = after if -MAX_TOTAL < after < MAX_TOTAL else bounded(after)
        show = self._show
        return (before, after) if show is None else (show(before), show(after))

    def read(self, cell: Cell, at_ms: int) -> Value:
        total: int = cell[1]
        return total if self._show is None else self._show(total)

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        return [self.code, bounded(cell[1] + other[1])]


class Rolling:
    """A count or sum in a sliding window: the cell of a ``Window``."""

    empty: ClassVar[Value] = 0

    def __init__(self, code: str, amount: "Amount", window_ms: int) -> None:
        self.code, self._show, self._window = ord(code), amount.show, Window(window_ms)
        self.accept, self.bound_ms, self.span_ms = amount.accept, self._window.bound_ms, window_ms

    def new(self) -> Cell:
        return self._window.new(self.code, 0)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: int) -> tuple[Value, Value]:
        before: int = cell[2]
        alone = self._window.add(cell, at_ms, value, clock_ms)
        after = before + value if alone else self._window.total(cell, clock_ms)
        cell[2] = after = after if -MAX_TOTAL < after < MAX_TOTAL else bounded(after)
        show = self._show
        return (before, after) if show is None else (show(before), show(after))

    def read(self, cell: Cell, at_ms: int) -> Value:
        total = bounded(self._window.total(cell, at_ms))
        return total if self._show is None else self._show(total)

    def expiry_ms(self, cell: Cell) -> int:
        return self._window.empty_at_ms(cell) if cell[2] else 0

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before: int = cell[2]
        empty_ms = self._window.empty_at_ms(cell)
        cell[2] = after = bounded(self._window.total(cell, now_ms))
        since_ms = min(now_ms, empty_ms or now_ms)
        show = self._show
        return (before, after, since_ms) if show is None else (show(before), show(after), since_ms)

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        merged = self._window.merge(cell, other, clock_ms)
        merged[2] = bounded(self._window.total(merged, clock_ms))
        return merged


@dataclass(frozen=True, slots=True)
class Amount:
    """What is added up, as whole numbers, and how the total is shown."""

    accept: Callable[[object], int | None]
    # None: as it is.
    show: Callable[[int], int | float] | None


def _unit(raw: object) -> int:  # noqa: ARG001 - each event is one, whatever it holds
    return 1


COUNT: Final = Amount(_unit, None)
SUM: Final = Amount(scaled, unscaled)
