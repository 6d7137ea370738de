"""Values that time alone moves in steps.

Each step is a change of its own with its own time, also if several lie between two runs of a
timer.
"""
# ruff: noqa: D102, ANN401, ARG002 - the methods and their arguments are those of the protocol

from typing import Any, ClassVar

from streams.core.state.cells import Cell
from streams.core.tags.kind import UNMOVED
from streams.core.tags.values import Value


class Stepped:
    """What stepped kinds share: ``[code, shown, last_ms, as_of_ms - last_ms, ...]``; 0: no last."""

    code: ClassVar[int]
    empty: ClassVar[Value] = None

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: int) -> tuple[Value, Value]:
        self.take(cell, at_ms, value)
        before, after = cell[1], self.shown_at(cell, clock_ms)
        cell[1], cell[3] = after, clock_ms - cell[2]
        return UNMOVED if before == after else (self.show(before), self.show(after))

    def read(self, cell: Cell, at_ms: int) -> Value:
        return self.show(self.shown_at(cell, at_ms)) if cell[2] else None

    def expiry_ms(self, cell: Cell) -> int:
        if not cell[2]:
            return 0
        as_of_ms: int = cell[2] + cell[3]
        while as_of_ms := self.step_ms(cell, as_of_ms):
            if self.shown_at(cell, as_of_ms) != cell[1]:
                break
        return as_of_ms

    def bound_ms(self, cell: Cell, at_ms: int, clock_ms: int) -> int:
        return self.step_ms(cell, clock_ms)

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before, step_ms = self.show(cell[1]), self.expiry_ms(cell)
        if not step_ms or step_ms > now_ms:
            return before, before, now_ms
        cell[1], cell[3] = self.shown_at(cell, step_ms), step_ms - cell[2]
        return before, self.show(cell[1]), step_ms

    def show(self, shown: Any) -> Value:
        """Return the value of what a cell holds of it."""
        value: Value = shown
        return value

    def shown_at(self, cell: Cell, at_ms: int) -> Any:
        """Return what a cell is to hold of its value at a time."""
        raise NotImplementedError

    def take(self, cell: Cell, at_ms: int, value: int) -> None:
        """Take an event in."""
        raise NotImplementedError

    def step_ms(self, cell: Cell, after_ms: int) -> int:
        """Return the next time at which the value may change with no event; 0 for never."""
        raise NotImplementedError
