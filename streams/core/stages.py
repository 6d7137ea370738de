"""Values that time alone moves in steps: lifecycle stages and RFM scores.

Of the events only the first and last time, the number and the sum are held: late and
out-of-order events count fully, and ``merge`` takes the earlier first, the later last and
the sums. Each step is a change of its own, stamped with its own time, also where several
lie between two runs of a timer.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from bisect import bisect_right
from typing import Any, Final

from schemas.tags import Age, RfmTag, StageTag
from streams.core.kinds import SCALE, Value, scaled
from streams.core.state import Cell
from streams.core.windows import bounded

# Recency, frequency, money: high or not. The eight names that shops' operators use.
SEGMENTS: Final = {
    (True, True, True): "important_value",  # 重要价值
    (True, False, True): "important_develop",  # 重要发展
    (False, True, True): "important_keep",  # 重要保持
    (False, False, True): "important_retain",  # 重要挽留
    (True, True, False): "general_value",  # 一般价值
    (True, False, False): "general_develop",  # 一般发展
    (False, True, False): "general_keep",  # 一般保持
    (False, False, False): "general_retain",  # 一般挽留
}


class Stepped:
    """What steps share: ``[code, shown, as_of_ms, first_ms, last_ms, count, total]``."""

    code: str
    empty: Value = None

    def new(self) -> Cell:
        return [self.code, None, 0, None, None, 0, 0]

    def accept(self, raw: object) -> object | None:
        return scaled(raw)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: int) -> tuple[Value, Value]:
        before = cell[1]
        self._take(cell, at_ms, at_ms, 1, value)
        cell[1], cell[2] = self.read(cell, clock_ms), clock_ms
        return before, cell[1]

    def expiry_ms(self, cell: Cell) -> int:
        if cell[3] is None:
            return 0
        times = sorted({one for one in self.steps_ms(cell) if one > cell[2]})
        return next((one for one in times if self.read(cell, one) != cell[1]), 0)

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before, step_ms = cell[1], self.expiry_ms(cell)
        if not step_ms or step_ms > now_ms:
            return before, before, now_ms
        cell[1], cell[2] = self.read(cell, step_ms), step_ms
        return before, cell[1], step_ms

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        if two[3] is not None:
            self._take(one, *two[3:])
            one[1], one[2] = self.read(one, clock_ms), clock_ms
        return one

    def read(self, cell: Cell, at_ms: int) -> Value:
        """Return the value at a time."""
        raise NotImplementedError

    def steps_ms(self, cell: Cell) -> list[int]:
        """Return the times at which the value may change with no event."""
        raise NotImplementedError

    def _take(self, cell: Cell, first_ms: int, last_ms: int, count: int, total: int) -> None:
        known = cell[3] is not None
        cell[3] = min(cell[3], first_ms) if known else first_ms
        cell[4] = max(cell[4], last_ms) if known else last_ms
        cell[5], cell[6] = cell[5] + count, bounded(cell[6] + total)


class Stage(Stepped):
    """The first stage whose ages hold at a time, ``else`` if none does."""

    code = "g"

    def __init__(self, tag: StageTag) -> None:
        self._stages = [
            (name, _bounds(ages.since_first), _bounds(ages.since_last))
            for one in tag.stages
            for name, ages in one.items()
        ]
        self._else = tag.otherwise

    def accept(self, raw: object) -> object | None:
        return 0  # only the time counts

    def read(self, cell: Cell, at_ms: int) -> Value:
        if cell[3] is None:
            return None
        first, last = at_ms - cell[3], at_ms - cell[4]
        for name, (from_first, to_first), (from_last, to_last) in self._stages:
            if from_first <= first < to_first and from_last <= last < to_last:
                return name
        return self._else

    def steps_ms(self, cell: Cell) -> list[int]:
        return [
            start_ms + int(bound)
            for _, first, last in self._stages
            for start_ms, bounds in ((cell[3], first), (cell[4], last))
            for bound in bounds
            if abs(bound) != _EVER
        ]


class Rfm(Stepped):
    """``{r, f, m, segment}``: three scores from 1 to 5, five the best, and a name."""

    code = "r"

    def __init__(self, tag: RfmTag) -> None:
        self._recency, self._frequency = tag.recency, tag.frequency
        self._monetary = [round(one * SCALE) for one in tag.monetary]
        self._high = tag.high

    def read(self, cell: Cell, at_ms: int) -> Value:
        if cell[3] is None:
            return None
        r = 5 - bisect_right(self._recency, at_ms - cell[4])
        f = 1 + bisect_right(self._frequency, cell[5])
        m = 1 + bisect_right(self._monetary, cell[6])
        segment = SEGMENTS[r >= self._high, f >= self._high, m >= self._high]
        return {"r": r, "f": f, "m": m, "segment": segment}

    def steps_ms(self, cell: Cell) -> list[int]:
        return [cell[4] + step for step in self._recency]


_EVER: Final = float("inf")


def _bounds(age: Age | None) -> tuple[float, float]:
    """Return from and to; an event that is later than the time it is read at is of any age."""
    if age is None:
        return -_EVER, _EVER
    low: Any = -_EVER if age.gte_ms is None else age.gte_ms
    return low, _EVER if age.lt_ms is None else age.lt_ms
