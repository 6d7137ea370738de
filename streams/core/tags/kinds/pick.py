"""The value of one event: of the latest or of the earliest by event time."""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from typing import ClassVar

from streams.core.state.cells import Cell
from streams.core.tags.kind import UNMOVED, Lasting, better
from streams.core.tags.values import Value, plain


class Pick(Lasting):
    """The value of the latest (or earliest) event by event time: ``[code, time, value]``."""

    empty: ClassVar[Value] = None

    def __init__(self, code: str, *, latest: bool) -> None:
        self.code, self._latest = ord(code), latest

    def new(self) -> Cell:
        return [self.code, None, None]

    def accept(self, raw: object) -> object | None:
        return plain(raw)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Value) -> tuple[Value, Value]:
        time_ms, before = cell[1], cell[2]
        if time_ms is None or (
            (at_ms > time_ms) is self._latest
            if at_ms != time_ms
            else better(at_ms, value, time_ms, before, latest=self._latest)
        ):
            cell[1], cell[2] = at_ms, value
            return before, value
        return UNMOVED

    def read(self, cell: Cell, at_ms: int) -> Value:
        value: Value = cell[2]
        return value

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        if other[1] is not None:
            self.fold(cell, other[1], clock_ms, other[2])
        return cell
