"""Preferences: the heaviest values, each with a score that decays.

Order-independence and merges are promised as long as a user has no more values than are
kept; over that the lightest is forgotten.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from collections.abc import Mapping
from itertools import islice
from typing import ClassVar, Final, cast

from schemas.events import Event
from streams.core.language.compile import Getter
from streams.core.state.cells import Cell
from streams.core.tags.getters import Weighed
from streams.core.tags.kind import UNMOVED, Lasting
from streams.core.tags.periods import KEEP, Periods, add_all, prune, rescale, weight
from streams.core.tags.values import MAX_KEY, Value, key_text
from streams.core.tags.windows import bounded

# Weights of a preference are ranked, not shown: a thousandth is fine enough.
TOPK_SCALE: Final = 1000


def most_values(k: int) -> int:
    """Return up to how many different values of a user a preference is exact."""
    return max(12, 4 * k)


class TopK(Lasting):
    """The heaviest values: ``[code, half_life_ms, base, newest, shown, {value: periods}]``.

    All weights decay alike, so time alone never changes the order: it is emitted at the
    newest event, and the favourite of a user who is away stays the favourite. Of equals
    the first by text leads. 12 values are kept (four times k if that is more), and cut to the
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
            raw = value(event)
            key = raw if type(raw) is str and len(raw) <= MAX_KEY else key_text(raw)
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

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        keys, more = self._keys(cell, clock_ms), self._keys(other, clock_ms)
        if not keys:
            cell[2] = other[2]
        for key, periods in more.items():
            add_all(keys.setdefault(key, {}), periods, other[2] - cell[2])
        self._rank(cell)
        return cell

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
        after = [other for other in before if other != key]
        after.insert(at, key)
        return self._order(cell, after[: self._k])

    def _order(self, cell: Cell, first: list[str]) -> list[str]:
        keys = cell[5]
        cell[4] = len(first)
        if first != list(islice(keys, len(first))):
            cell[5] = {other: keys[other] for other in first} | keys
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
