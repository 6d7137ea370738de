"""Scores that decay, and what is held by key: preferences and counts.

A weight is put into the half-life that its event fell in, grown to that half-life's end
of scale, as a whole number: adding is exact, so late and out-of-order events count as if
they had come in time. What is 20 half-lives old (a millionth) is let go. ``merge`` adds.
Kinds by key promise order-independence and merges as long as a user has no more keys
than are kept; over that the lightest (or the longest unseen) is forgotten.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from collections.abc import Mapping
from itertools import islice
from typing import Any, ClassVar, Final, cast

from schemas.events import Event
from streams.core.aggregates import MAX_KEY, key_text
from streams.core.cells import Cell
from streams.core.compile import Getter
from streams.core.kinds import UNMOVED, Lasting, Value, better, plain, scaled, unscaled
from streams.core.windows import bounded

KEEP: Final = 20
# Weights of a preference are ranked, not shown: a thousandth is fine enough.
TOPK_SCALE: Final = 1000
_MINUTE_MS: Final = 60_000
# Amounts by half-life, counted from the cell's base.
Periods = dict[int, int]
# What the catalogue makes of an event: its value, and what the event weighs.
Weighed = tuple[object, float]


def place(periods: Periods, base: int, at_ms: int, amount: float, half_life_ms: int) -> None:
    """Add an amount at a time; with no half-life (0) all time is one period."""
    if half_life_ms:
        period, rest_ms = divmod(at_ms, half_life_ms)
        period -= base
        grown = round(amount * 2 ** (rest_ms / half_life_ms))
    else:
        period, grown = 0, round(amount)
    periods[period] = bounded(periods[period] + grown) if period in periods else bounded(grown)


def weight(periods: Periods, last: int) -> int:
    """Return the weight at the start of a period, in 2**-20; what is later does not count."""
    return sum(
        [amount << KEEP - last + at for at, amount in periods.items() if last - KEEP <= at <= last]
    )


def rescale(cell: Cell, periods: Periods, half_life_ms: int, clock_ms: int) -> Periods:
    """Return the periods of a cell as ones of another half-life: the error is one old period."""
    made: Periods = {}
    was_ms, base = cell[1], clock_ms // half_life_ms if half_life_ms else 0
    for period, amount in periods.items():
        at_ms = (cell[2] + period) * was_ms if was_ms else clock_ms
        place(made, base, at_ms, amount, half_life_ms)
    return made


def prune(periods: Periods, newest: int) -> None:
    """Let go of what no read at or after the newest period can see."""
    if next(iter(periods), newest) < newest - KEEP:
        for old in [one for one in periods if one < newest - KEEP]:
            del periods[old]


def add_all(periods: Periods, more: Periods, shift: int) -> None:
    """Add the periods of another user, whose base is so much later."""
    for period, amount in more.items():
        here = period + shift
        periods[here] = bounded(periods.get(here, 0) + amount)


class Decay:
    """A score that halves in every half-life: ``[code, half_life_ms, base, shown, periods]``.

    Right when read, at any time; written at the tag's events and when it is 0 for good.
    ``shown`` is in ten-thousandths.
    """

    code: ClassVar[int] = ord("e")
    empty: ClassVar[Value] = 0

    def __init__(self, half_life_ms: int) -> None:
        self._half_life_ms, self.span_ms = half_life_ms, KEEP * half_life_ms

    def new(self) -> Cell:
        return [self.code, self._half_life_ms, 0, 0, {}]

    def accept(self, raw: object) -> object | None:
        value, factor = cast("Weighed", raw)
        amount = scaled(value)
        return None if amount is None else amount * factor

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: float) -> tuple[Value, Value]:
        before, periods = cell[3], self._periods(cell, clock_ms)
        if not periods:
            cell[2] = at_ms // self._half_life_ms
        place(periods, cell[2], at_ms, value, self._half_life_ms)
        prune(periods, clock_ms // self._half_life_ms - cell[2])
        cell[3] = after = self._score(cell, clock_ms)
        return unscaled(before), unscaled(after)

    def read(self, cell: Cell, at_ms: int) -> Value:
        return unscaled(self._score(cell, at_ms))

    def expiry_ms(self, cell: Cell) -> int:
        periods: Periods = cell[4]
        return (cell[2] + max(periods) + KEEP + 1) * cell[1] if cell[3] and periods else 0

    def bound_ms(self, cell: Cell, at_ms: int, clock_ms: int) -> int:
        bound_ms = (at_ms // self._half_life_ms + KEEP + 1) * self._half_life_ms
        return bound_ms if bound_ms > clock_ms else self.expiry_ms(cell)

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before, gone_ms = cell[3], self.expiry_ms(cell)
        cell[3] = after = self._score(cell, now_ms)
        return unscaled(before), unscaled(after), min(now_ms, gone_ms or now_ms)

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        periods, more = self._periods(one, clock_ms), self._periods(two, clock_ms)
        if not periods:
            one[2] = two[2]
        add_all(periods, more, two[2] - one[2])
        prune(periods, clock_ms // self._half_life_ms - one[2])
        one[3] = self._score(one, clock_ms)
        return one

    def _score(self, cell: Cell, at_ms: int) -> int:
        last, rest_ms = divmod(at_ms, self._half_life_ms)
        whole = weight(self._periods(cell, at_ms), last - cell[2])
        return bounded(round(whole / (1 << KEEP) * 2 ** (-rest_ms / self._half_life_ms)))

    def _periods(self, cell: Cell, clock_ms: int) -> Periods:
        if cell[1] != self._half_life_ms:
            cell[4] = rescale(cell, cell[4], self._half_life_ms, clock_ms)
            cell[1], cell[2] = self._half_life_ms, clock_ms // self._half_life_ms
        periods: Periods = cell[4]
        return periods


def most_values(k: int) -> int:
    """Return up to how many different values of a user a preference is exact."""
    return max(12, 4 * k)


class TopK(Lasting):
    """The heaviest values: ``[code, half_life_ms, base, newest, shown, {value: periods}]``.

    All weights decay alike, so time alone never changes the order: it is told at the
    newest event, and the favourite of a user who is away stays the favourite. Of equals
    the first by text leads. 12 values are held (four times k if that is more), and cut to the
    nine (three times k) heaviest when there are more: so a new one has time to grow. The first
    ``shown`` of them are the heaviest, in order.
    """

    code: ClassVar[int] = ord("k")
    empty: ClassVar[Value] = None

    def __init__(self, k: int, half_life_ms: int) -> None:
        self._k, self._half_life_ms = k, half_life_ms
        self._most, self._left = most_values(k), max(9, 3 * k)

    def new(self) -> Cell:
        return [self.code, self._half_life_ms, 0, 0, 0, {}]

    def accept(self, raw: object) -> object | None:
        value, factor = cast("Weighed", raw)
        key = key_text(value)
        return None if key is None else (key, round(factor * TOPK_SCALE))

    def taker(self, value: Getter, weights: Mapping[str, float]) -> Getter:
        """Return what finds the value and its weight in an event, as ``accept`` would."""
        scaled_weights = {name: round(factor * TOPK_SCALE) for name, factor in weights.items()}

        def take(event: Event) -> object:
            found = value(event)
            key = found if type(found) is str and len(found) <= MAX_KEY else key_text(found)
            return None if key is None else (key, scaled_weights.get(event.event, TOPK_SCALE))

        return take

    def fold(
        self, cell: Cell, at_ms: int, clock_ms: int, value: tuple[str, int]
    ) -> tuple[Value, Value]:
        keys, (key, amount) = self._keys(cell, clock_ms), value
        period, rest_ms = divmod(at_ms, self._half_life_ms) if self._half_life_ms else (0, 0)
        if not keys:
            cell[2] = period
        period -= cell[2]
        # Within one newest period only this value's weight moves: it or none comes forward.
        near = cell[4] and cell[3] - KEEP <= period <= cell[3]
        first = near and key == next(iter(keys))
        before = None if first else self._shown(cell)
        grown = round(amount * 2 ** (rest_ms / self._half_life_ms)) if rest_ms else amount
        periods = keys.get(key)
        if periods is None:
            keys[key] = {period: grown}
        else:
            periods[period] = bounded(periods.get(period, 0) + grown)
        if first:
            return UNMOVED
        if not near or before is None or len(keys) > self._most:
            return before, self._rank(cell)
        if len(before) < self._k and len(keys) - len(before) != (key not in before):
            return before, self._rank(cell)  # the tag's k is greater than it was
        return before, self._raise(cell, key, before)

    def read(self, cell: Cell, at_ms: int) -> Value:
        return self._shown(cell)

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        keys, more = self._keys(one, clock_ms), self._keys(two, clock_ms)
        if not keys:
            one[2] = two[2]
        for key, periods in more.items():
            add_all(keys.setdefault(key, {}), periods, two[2] - one[2])
        self._rank(one)
        return one

    def _shown(self, cell: Cell) -> list[str] | None:
        return list(islice(cell[5], min(cell[4], self._k))) if cell[4] else None

    def _raise(self, cell: Cell, key: str, before: list[str]) -> list[str]:
        """Move a value before those that it outweighs now; of the shown ones, none fell out."""
        keys, newest = cell[5], cell[3]
        at = before.index(key) if key in before else len(before)
        was, mine = at, (-weight(keys[key], newest), key)
        while at and mine < (-weight(keys[before[at - 1]], newest), before[at - 1]):
            at -= 1
        if at >= self._k or (at == was < len(before)):
            return before
        after = [one for one in before if one != key]
        after.insert(at, key)
        return self._order(cell, after[: self._k])

    def _order(self, cell: Cell, first: list[str]) -> list[str]:
        keys = cell[5]
        cell[4] = len(first)
        if first != list(islice(keys, len(first))):
            cell[5] = {one: keys[one] for one in first} | keys
        return first

    def _rank(self, cell: Cell) -> Value:
        keys: dict[str, Periods] = cell[5]
        newest = max((max(periods) for periods in keys.values()), default=0)
        order = sorted((-weight(periods, newest), key) for key, periods in keys.items())
        # What lies wholly before the newest 20 half-lives weighs nothing.
        heavy = [key for light, key in order if light]
        if len(heavy) > self._most:
            heavy = heavy[: self._left]
        if len(heavy) < len(keys):
            cell[5] = keys = {key: keys[key] for key in heavy}
        for periods in keys.values():
            prune(periods, newest)
        cell[3] = newest
        return self._order(cell, heavy[: self._k]) or None

    def _keys(self, cell: Cell, clock_ms: int) -> dict[str, Periods]:
        keys: dict[str, Periods] = cell[5]
        if cell[1] != self._half_life_ms:
            for key, periods in keys.items():
                keys[key] = rescale(cell, periods, self._half_life_ms, clock_ms)
            cell[1] = self._half_life_ms
            cell[2] = clock_ms // self._half_life_ms if self._half_life_ms else 0
            self._rank(cell)
            keys = cell[5]
        return keys


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
