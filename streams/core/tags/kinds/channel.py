"""The values of the first and of the last event: where a user came from, first and last."""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from typing import ClassVar

from streams.core.state.cells import Cell
from streams.core.tags.kind import UNMOVED, Lasting, better
from streams.core.tags.values import Value, plain


class FirstLast(Lasting):
    """Values of the first and last event: ``[code, first_ms, first, last_ms - first_ms, last]``.

    ``last`` is ``None`` if it is the same as the first, as it mostly is.
    """

    code: ClassVar[int] = ord("h")
    empty: ClassVar[Value] = None

    def new(self) -> Cell:
        return [self.code, None, None, 0, None]

    def accept(self, raw: object) -> object | None:
        return plain(raw)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Value) -> tuple[Value, Value]:
        _, first_ms, first, since_ms, last = cell
        same = type(value) is str and value == (first if last is None else last)
        if same and at_ms > first_ms + since_ms:
            cell[3] = at_ms - first_ms
            return UNMOVED
        before = self.read(cell, at_ms)
        self._take(cell, at_ms, value)
        return before, self.read(cell, at_ms)

    def read(self, cell: Cell, at_ms: int) -> Value:
        _, first_ms, first, _, last = cell
        return (
            None if first_ms is None else {"first": first, "last": first if last is None else last}
        )

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        if other[1] is not None:
            self._take(cell, other[1], other[2])
            self._take(cell, other[1] + other[3], other[2] if other[4] is None else other[4])
        return cell

    def _take(self, cell: Cell, at_ms: int, value: Value) -> None:
        _, first_ms, first, since_ms, last = cell
        if first_ms is None:
            cell[1:] = [at_ms, value, 0, None]
            return
        last, last_ms = first if last is None else last, first_ms + since_ms
        if better(at_ms, value, first_ms, first, latest=False):
            first_ms, first = at_ms, value
        if better(at_ms, value, last_ms, last, latest=True):
            last_ms, last = at_ms, value
        same = type(first) is type(last) and first == last
        cell[1:] = [first_ms, first, last_ms - first_ms, None if same else last]
