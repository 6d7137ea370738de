"""What is held by value: counts of those seen last, and the values of the first and last event.

Counts promise order-independence and merges as long as a user has no more keys than are
kept; over that the longest unseen is forgotten.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from typing import Any, ClassVar, Final

from streams.core.state.cells import Cell
from streams.core.tags.aggregates import key_text
from streams.core.tags.kinds import UNMOVED, Lasting, Value, better, plain
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

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        for key, (count, latest) in two[2].items():
            self._add(one, key, count, two[1] + latest)
        return one

    def _counts(self, cell: Cell) -> dict[str, Any] | None:
        return {key: held[0] for key, held in cell[2].items()} or None

    def _add(self, cell: Cell, key: str, count: int, minute: int) -> None:
        keys: dict[str, list[int]] = cell[2]
        if not keys:
            cell[1] = minute
        minute -= cell[1]
        held = keys.get(key)
        if held is None:
            keys[key] = [count, minute]
            if len(keys) > self._most:
                del keys[min(keys, key=lambda one: (keys[one][1], one))]
            return
        held[0], held[1] = bounded(held[0] + count), max(held[1], minute)


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

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        if two[1] is not None:
            self._take(one, two[1], two[2])
            self._take(one, two[1] + two[3], two[2] if two[4] is None else two[4])
        return one

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
