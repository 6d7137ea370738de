"""The risk that a user is lost: how long they are silent, measured by their own rhythm.

The intervals between the last 16 events are taken for gamma-distributed (Platzer and
Reutterer, "Ticking away the moments", Marketing Science 35(5), 2016: regularity of timing
predicts who is gone): with mean m and spread s of the intervals and k = (m / s)², the
regularity, the risk after a silence of t is the share of intervals that are no longer,

    risk(t) = Φ(3 √k ((t / m)^(1/3) - 1 + 1 / (9 k)))

in the form of Wilson and Hilferty (PNAS 17, 1931), which errs by less than 0.02 for k >= 1.
k lies between 1 (events at random: a Poisson process) and 25, and is 1 under three
intervals; who has none has the shop's ``rhythm``. The risk is shown in tenths, rounded
down: each is a step at its own time, so what was last written is always what holds.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from bisect import insort
from collections.abc import Collection, Iterable
from itertools import accumulate, pairwise
from math import ceil, sqrt
from statistics import NormalDist
from typing import ClassVar, Final

from streams.core.state.cells import Cell
from streams.core.tags.values import Value

TIMES: Final = 16
LEVELS: Final = ("low", "middle", "high")
MOST_REGULAR: Final = 25.0
LEAST_SPREAD: Final = 3
_NORMAL: Final = NormalDist()
TENTHS: Final = tuple(_NORMAL.inv_cdf(tenth / 10) for tenth in range(1, 10))


class Churn:
    """``{level, risk}``: ``[code, shown, as_of_ms, first_ms, intervals]``; time alone moves it.

    ``shown`` is ten times the risk, times three, plus the level's rank. The latest 16 times
    are a multiset: neither order nor grouping of a merge matters.
    """

    code: ClassVar[int] = ord("v")
    empty: ClassVar[Value] = None
    of_now: ClassVar[bool] = True

    def __init__(self, rhythm_ms: int, middle: float, high: float) -> None:
        self._rhythm_ms = rhythm_ms
        self._middle, self._high = (_NORMAL.inv_cdf(risk) for risk in (middle, high))
        self._steps = sorted((*TENTHS, self._middle, self._high))
        self._least = self._steps[0]
        # The latest rhythm and its intervals: several methods ask for it one after another.
        self._gaps: list[int] | None = None
        self._first_ms, self._last_ms, self._mean_ms, self._regularity = 0, 0, 0.0, 1.0

    def narrow(self, parts: Collection[str]) -> None:
        """Step only when one of ``parts`` of the value can change: nobody waits for the others."""
        if set(parts) == {"level"}:
            self._steps = sorted((self._middle, self._high))

    def new(self) -> Cell:
        return [self.code, None, 0, None, []]

    def accept(self, raw: object) -> object | None:
        return 0  # only the time counts

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: int) -> tuple[Value, Value]:
        before = cell[1]
        _take(cell, (at_ms,))
        cell[1], cell[2] = self._rank(cell, clock_ms), clock_ms
        return _value(before), _value(cell[1])

    def read(self, cell: Cell, at_ms: int) -> Value:
        return _value(self._rank(cell, at_ms))

    def _rank(self, cell: Cell, at_ms: int) -> int | None:
        if cell[3] is None:
            return None
        self._learn(cell)
        silence_ms = at_ms - self._last_ms
        if silence_ms < self._silence_ms(self._least):
            return 0
        tenths = sum([silence_ms >= self._silence_ms(z) for z in TENTHS])
        level = sum([silence_ms >= self._silence_ms(z) for z in (self._middle, self._high)])
        return len(LEVELS) * tenths + level

    def expiry_ms(self, cell: Cell) -> int:
        if cell[3] is None:
            return 0
        self._learn(cell)
        for z in self._steps:
            step_ms = self._last_ms + self._silence_ms(z)
            if step_ms > cell[2]:
                return step_ms
        return 0

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before, step_ms = cell[1], self.expiry_ms(cell)
        if not step_ms or step_ms > now_ms:
            return _value(before), _value(before), now_ms
        cell[1], cell[2] = self._rank(cell, step_ms), step_ms
        return _value(before), _value(cell[1]), step_ms

    def _silence_ms(self, z: float) -> int:
        return quantile_ms(self._mean_ms, self._regularity, z)

    def _learn(self, cell: Cell) -> None:
        """Have the last time and the rhythm of a cell's intervals: a list is never changed."""
        gaps, first_ms = cell[4], cell[3]
        if gaps is not self._gaps or first_ms != self._first_ms:
            times = _times(cell)
            self._mean_ms, self._regularity = rhythm(times, self._rhythm_ms)
            self._gaps, self._first_ms, self._last_ms = gaps, first_ms, times[-1]

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        if other[3] is not None:
            _take(cell, _times(other))
            cell[1], cell[2] = self._rank(cell, clock_ms), clock_ms
        return cell


def _value(shown: int | None) -> Value:
    if shown is None:
        return None
    tenths, level = divmod(shown, len(LEVELS))
    return {"level": LEVELS[level], "risk": tenths / 10}


def _times(cell: Cell) -> list[int]:
    return [] if cell[3] is None else list(accumulate(cell[4], initial=cell[3]))


def _take(cell: Cell, more: Iterable[int]) -> None:
    times = _times(cell)
    for time_ms in more:
        insort(times, time_ms)
    del times[:-TIMES]
    cell[3], cell[4] = times[0], [later - earlier for earlier, later in pairwise(times)]


def rhythm(times: list[int], default_ms: int) -> tuple[float, float]:
    """Return the mean interval of sorted times, ms, and how regular the intervals are."""
    count = len(times) - 1
    mean_ms = (times[-1] - times[0]) / count if count else 0.0
    if mean_ms <= 0:
        return float(default_ms), 1.0
    if count < LEAST_SPREAD:
        return mean_ms, 1.0
    gaps = [later - earlier for earlier, later in pairwise(times)]
    variance = sum((gap - mean_ms) ** 2 for gap in gaps) / (count - 1)
    most = mean_ms**2 / MOST_REGULAR
    return mean_ms, max(1.0, mean_ms**2 / max(variance, most))


def score(silence_ms: float, mean_ms: float, regularity: float) -> float:
    """Return the z of a silence: the risk is Φ of it."""
    cube: float = (silence_ms / mean_ms) ** (1 / 3)
    return 3 * sqrt(regularity) * (cube - 1 + 1 / (9 * regularity))


def quantile_ms(mean_ms: float, regularity: float, z: float) -> int:
    """Return the silence from which on the risk has this z, in whole ms."""
    cube = 1 - 1 / (9 * regularity) + z / (3 * sqrt(regularity))
    return max(1, ceil(mean_ms * max(0.0, cube) ** 3))
