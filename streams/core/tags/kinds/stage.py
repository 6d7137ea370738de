"""Lifecycle stages: which one holds by the age of a user's first and last event.

Of the events only the first and last time are kept: late and out-of-order events count
fully, and ``merge`` takes the earlier first and the later last.
"""
# ruff: noqa: D102, ANN401, ARG002 - the methods and their arguments are those of the protocol

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from streams.core.state.cells import Cell
from streams.core.tags.stepped import Stepped

EVER: Final = float("inf")
# A stage's name, and the ages in ms that it holds for: from and to (excluded) since the first
# event, from and to since the last. An event later than the time of a read is of any age.
Ages = tuple[str, float, float, float, float]


class Stage(Stepped):
    """The first stage whose ages hold at a time, ``else`` if none does.

    ``[code, shown, last_ms, as_of_ms - last_ms, last_ms - first_ms]``.
    """

    code: ClassVar[int] = ord("g")

    def __init__(self, stages: list[Ages], otherwise: str | None) -> None:
        self._stages, self._else = stages, otherwise
        self._first = _steps(stage[1:3] for stage in stages)
        self._last = _steps(stage[3:5] for stage in stages)

    def new(self) -> Cell:
        return [self.code, None, 0, 0, 0]

    def accept(self, raw: object) -> object | None:
        return 0  # only the time counts

    def shown_at(self, cell: Cell, at_ms: int) -> Any:
        last = at_ms - cell[2]
        first = last + cell[4]
        for name, from_first, to_first, from_last, to_last in self._stages:
            if from_first <= first < to_first and from_last <= last < to_last:
                return name
        return self._else

    def step_ms(self, cell: Cell, after_ms: int) -> int:
        last_ms, first_ms = cell[2], cell[2] - cell[4]
        first = bisect_right(self._first, after_ms - first_ms)
        last = bisect_right(self._last, after_ms - last_ms)
        by_first = first_ms + self._first[first] if first < len(self._first) else 0
        by_last = last_ms + self._last[last] if last < len(self._last) else 0
        return min(by_first, by_last) if by_first and by_last else by_first or by_last

    def take(self, cell: Cell, at_ms: int, value: int) -> None:
        last_ms = cell[2]
        if not last_ms:
            cell[2] = at_ms
        elif at_ms > last_ms:
            cell[2], cell[4] = at_ms, cell[4] + at_ms - last_ms
        elif last_ms - at_ms > cell[4]:
            cell[4] = last_ms - at_ms

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        if other[2]:
            self.fold(cell, other[2], clock_ms, 0)
            self.fold(cell, other[2] - other[4], clock_ms, 0)
        return cell


def _steps(bounds: Iterable[Iterable[float]]) -> list[int]:
    """Return the ages at which something may change, in order."""
    return sorted({int(age) for ages in bounds for age in ages if abs(age) != EVER})
