"""Flags: true from an event on, for a time or until another event."""
# ruff: noqa: D102 - the methods and their arguments are those of the protocol

from typing import ClassVar

from streams.core.state.cells import Cell
from streams.core.tags.values import Value


class Flag:
    """True from the latest ``on`` for ttl, or to an ``until``: ``[code, on, off, shown]``."""

    empty: ClassVar[Value] = False

    def __init__(self, code: str, ttl_ms: int | None) -> None:
        self.code, self._ttl_ms = ord(code), ttl_ms

    def new(self) -> Cell:
        return [self.code, None, None, False]

    def accept(self, raw: object) -> object | None:
        return raw

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: bool) -> tuple[Value, Value]:  # noqa: FBT001 - the protocol's signature
        side = 1 if value else 2
        if cell[side] is None or at_ms > cell[side]:
            cell[side] = at_ms
        before, after = cell[3], self.read(cell, clock_ms)
        cell[3] = after
        return before, after

    def read(self, cell: Cell, at_ms: int) -> Value:
        _, on_ms, off_ms, _ = cell
        if on_ms is None or (off_ms is not None and off_ms > on_ms):
            return False
        return self._ttl_ms is None or at_ms < on_ms + self._ttl_ms

    def expiry_ms(self, cell: Cell) -> int:
        return cell[1] + self._ttl_ms if cell[3] and self._ttl_ms is not None else 0

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        since_ms = self.expiry_ms(cell) or now_ms
        before, after = cell[3], self.read(cell, now_ms)
        cell[3] = after
        return before, after, since_ms

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        for side, value in ((1, True), (2, False)):
            if other[side] is not None:
                self.fold(cell, other[side], clock_ms, value)
        return cell
