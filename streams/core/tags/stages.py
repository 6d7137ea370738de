"""Values that time alone moves in steps: lifecycle stages and RFM scores.

Of the events only the first and last time, the number and the sum are held: late and
out-of-order events count fully, and ``merge`` takes the earlier first, the later last and
the sums. Each step is a change of its own, stamped with its own time, also where several
lie between two runs of a timer.
"""
# ruff: noqa: D102, ANN401, ARG002 - the methods and their arguments are those of the protocol

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from schemas.tags import Age, RfmTag, StageTag
from streams.core.state.cells import Cell
from streams.core.tags.kinds import SCALE, UNMOVED, Value, scaled
from streams.core.tags.windows import bounded

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
    """What steps share: ``[code, shown, last_ms, as_of_ms - last_ms, ...]``, 0 for no last."""

    code: ClassVar[int]
    empty: ClassVar[Value] = None

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: int) -> tuple[Value, Value]:
        self.take(cell, at_ms, value)
        before, after = cell[1], self.held(cell, clock_ms)
        cell[1], cell[3] = after, clock_ms - cell[2]
        return UNMOVED if before == after else (self.show(before), self.show(after))

    def read(self, cell: Cell, at_ms: int) -> Value:
        return self.show(self.held(cell, at_ms)) if cell[2] else None

    def expiry_ms(self, cell: Cell) -> int:
        as_of_ms: int = cell[2] + cell[3]
        while as_of_ms := self.step_ms(cell, as_of_ms):
            if self.held(cell, as_of_ms) != cell[1]:
                break
        return as_of_ms

    def bound_ms(self, cell: Cell, at_ms: int, clock_ms: int) -> int:
        return self.step_ms(cell, clock_ms)

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before, step_ms = self.show(cell[1]), self.expiry_ms(cell)
        if not step_ms or step_ms > now_ms:
            return before, before, now_ms
        cell[1], cell[3] = self.held(cell, step_ms), step_ms - cell[2]
        return before, self.show(cell[1]), step_ms

    def show(self, held: Any) -> Value:
        """Return the value of what a cell holds of it."""
        shown: Value = held
        return shown

    def held(self, cell: Cell, at_ms: int) -> Any:
        """Return what a cell is to hold of its value at a time."""
        raise NotImplementedError

    def take(self, cell: Cell, at_ms: int, value: int) -> None:
        """Take an event in."""
        raise NotImplementedError

    def step_ms(self, cell: Cell, after_ms: int) -> int:
        """Return the next time at which the value may change with no event; 0 for never."""
        raise NotImplementedError


class Stage(Stepped):
    """The first stage whose ages hold at a time, ``else`` if none does.

    ``[code, shown, last_ms, as_of_ms - last_ms, last_ms - first_ms]``.
    """

    code: ClassVar[int] = ord("g")

    def __init__(self, tag: StageTag) -> None:
        self._stages = [
            (name, *_bounds(ages.since_first), *_bounds(ages.since_last))
            for one in tag.stages
            for name, ages in one.items()
        ]
        self._first = _steps(one[1:3] for one in self._stages)
        self._last = _steps(one[3:5] for one in self._stages)
        self._else = tag.otherwise

    def new(self) -> Cell:
        return [self.code, None, 0, 0, 0]

    def accept(self, raw: object) -> object | None:
        return 0  # only the time counts

    def held(self, cell: Cell, at_ms: int) -> Any:
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
        one = first_ms + self._first[first] if first < len(self._first) else 0
        two = last_ms + self._last[last] if last < len(self._last) else 0
        return min(one, two) if one and two else one or two

    def take(self, cell: Cell, at_ms: int, value: int) -> None:
        last_ms = cell[2]
        if not last_ms:
            cell[2] = at_ms
        elif at_ms > last_ms:
            cell[2], cell[4] = at_ms, cell[4] + at_ms - last_ms
        elif last_ms - at_ms > cell[4]:
            cell[4] = last_ms - at_ms

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        if two[2]:
            self.fold(one, two[2], clock_ms, 0)
            self.fold(one, two[2] - two[4], clock_ms, 0)
        return one


class Rfm(Stepped):
    """``{r, f, m, segment}``: three scores from 1 to 5, five the best, and a name.

    ``[code, scores, last_ms, as_of_ms - last_ms, count, total]``, scores as digits.
    """

    code: ClassVar[int] = ord("r")

    def __init__(self, tag: RfmTag) -> None:
        self._recency, self._frequency = tag.recency, tag.frequency
        self._monetary = [round(one * SCALE) for one in tag.monetary]
        self._high = tag.high

    def new(self) -> Cell:
        return [self.code, 0, 0, 0, 0, 0]

    def accept(self, raw: object) -> object | None:
        return scaled(raw)

    def held(self, cell: Cell, at_ms: int) -> Any:
        r = 5 - bisect_right(self._recency, at_ms - cell[2])
        f = 1 + bisect_right(self._frequency, cell[4])
        return 100 * r + 10 * f + 1 + bisect_right(self._monetary, cell[5])

    def show(self, held: Any) -> Value:
        if not held:
            return None
        (r, fm), high = divmod(held, 100), self._high
        f, m = divmod(fm, 10)
        return {"r": r, "f": f, "m": m, "segment": SEGMENTS[r >= high, f >= high, m >= high]}

    def step_ms(self, cell: Cell, after_ms: int) -> int:
        at = bisect_right(self._recency, after_ms - cell[2])
        return cell[2] + self._recency[at] if at < len(self._recency) else 0

    def take(self, cell: Cell, at_ms: int, value: int) -> None:
        cell[2] = max(cell[2], at_ms)
        cell[4], cell[5] = cell[4] + 1, bounded(cell[5] + value)

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        if two[2]:
            one[2] = max(one[2], two[2])
            one[4], one[5] = one[4] + two[4], bounded(one[5] + two[5])
            one[1], one[3] = self.held(one, clock_ms), clock_ms - one[2]
        return one


_EVER: Final = float("inf")


def _bounds(age: Age | None) -> tuple[float, float]:
    """Return from and to; an event that is later than the time it is read at is of any age."""
    if age is None:
        return -_EVER, _EVER
    low: Any = -_EVER if age.gte_ms is None else age.gte_ms
    return low, _EVER if age.lt_ms is None else age.lt_ms


def _steps(bounds: Iterable[Iterable[float]]) -> list[int]:
    """Return the ages at which something may change, in order."""
    return sorted({int(one) for pair in bounds for one in pair if abs(one) != _EVER})
