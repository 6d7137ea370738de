"""Counts by value, of those seen last.

They promise order-independence and merges as long as a user has no more keys than are
kept; over that the longest unseen is forgotten.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from typing import Any, ClassVar, Final

from streams.core.state.cells import Cell
from streams.core.tags.kind import Lasting
from streams.core.tags.values import Value, key_text
from streams.core.tags.windows import bounded

_MINUTE_MS: Final = 60_000


class PerKey(Lasting):
    """Counts by value: ``[code, base, {value: [count, latest - base]}]``, of those seen last.

    Times are in minutes; of values seen last in one minute the later by text stays.
    """

    code: ClassVar[int] = ord("p")
    empty: ClassVar[Value] = None

    def __init__(self, most: int) -> None:
        self._most = most
        self.accept = key_text

    def new(self) -> Cell:
        return [self.code, 0, {}]

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: str) -> tuple[Value, Value]:
        before = self._counts(cell)
        self._add(cell, value, 1, at_ms // _MINUTE_MS)
        if before is None or value not in before:
            return before, self._counts(cell)
        return before, {**before, value: cell[2][value][0]}

    def read(self, cell: Cell, at_ms: int) -> Value:
        return self._counts(cell)

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        for key, (count, latest) in other[2].items():
            self._add(cell, key, count, other[1] + latest)
        return cell

    def _counts(self, cell: Cell) -> dict[str, Any] | None:
        return {key: entry[0] for key, entry in cell[2].items()} or None

    def _add(self, cell: Cell, key: str, count: int, minute: int) -> None:
        keys: dict[str, list[int]] = cell[2]
        if not keys:
            cell[1] = minute
        minute -= cell[1]
        entry = keys.get(key)
        if entry is None:
            keys[key] = [count, minute]
            if len(keys) > self._most:
                del keys[min(keys, key=lambda seen: (keys[seen][1], seen))]
            return
        entry[0], entry[1] = bounded(entry[0] + count), max(entry[1], minute)
