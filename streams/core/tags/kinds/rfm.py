"""RFM: scores of recency, frequency and money, of which time alone moves the first.

Of the events only the last time, the number and the sum are kept: late and out-of-order
events count fully, and ``merge`` takes the later last and the sums.
"""
# ruff: noqa: D102, ANN401 - the methods and their arguments are those of the protocol

from bisect import bisect_right
from typing import Any, ClassVar, Final

from streams.core.state.cells import Cell
from streams.core.tags.stepped import Stepped
from streams.core.tags.values import SCALE, Value, scaled
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


class Rfm(Stepped):
    """``{r, f, m, segment}``: three scores from 1 to 5, five the best, and a name.

    ``[code, scores, last_ms, as_of_ms - last_ms, count, total]``, scores as digits.
    """

    code: ClassVar[int] = ord("r")

    def __init__(
        self,
        recency_ms: list[int],
        frequency: list[int | float],
        monetary: list[int | float],
        high: int,
    ) -> None:
        self._recency, self._frequency, self._high = recency_ms, frequency, high
        self._monetary = [round(threshold * SCALE) for threshold in monetary]

    def new(self) -> Cell:
        return [self.code, 0, 0, 0, 0, 0]

    def accept(self, raw: object) -> object | None:
        return scaled(raw)

    def shown_at(self, cell: Cell, at_ms: int) -> Any:
        r = 5 - bisect_right(self._recency, at_ms - cell[2])
        f = 1 + bisect_right(self._frequency, cell[4])
        return 100 * r + 10 * f + 1 + bisect_right(self._monetary, cell[5])

    def show(self, shown: Any) -> Value:
        if not shown:
            return None
        (r, fm), high = divmod(shown, 100), self._high
        f, m = divmod(fm, 10)
        return {"r": r, "f": f, "m": m, "segment": SEGMENTS[r >= high, f >= high, m >= high]}

    def step_ms(self, cell: Cell, after_ms: int) -> int:
        at = bisect_right(self._recency, after_ms - cell[2])
        return cell[2] + self._recency[at] if at < len(self._recency) else 0

    def take(self, cell: Cell, at_ms: int, value: int) -> None:
        cell[2] = max(cell[2], at_ms)
        cell[4], cell[5] = cell[4] + 1, bounded(cell[5] + value)

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        if other[2]:
            cell[2] = max(cell[2], other[2])
            cell[4], cell[5] = cell[4] + other[4], bounded(cell[5] + other[5])
            cell[1], cell[3] = self.shown_at(cell, clock_ms), clock_ms - cell[2]
        return cell
