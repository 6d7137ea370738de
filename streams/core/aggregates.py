"""Means, extremes and distinct counts: ever, or in a sliding window of tiles.

All are joined by functions for which order and grouping do not matter: late and
out-of-order events count fully, and ``merge`` is exact. Windows err by at most a tile (a
96th of the window) at either end. Where there is nothing, a distinct count reads 0 and
the others are missing.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

import hashlib
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import msgspec

from streams.core.kinds import Lasting, Value, scaled, unscaled
from streams.core.state import Cell
from streams.core.windows import Window, bounded

MAX_HASHES: Final = 64
MAX_KEY: Final = 64
_HASH_BYTES: Final = 4
_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What is held of values, how two make one, and how it is shown."""

    accept: Callable[[object], Any]
    join: Callable[[Any, Any], Any]
    show: Callable[[Any], Value]


class Lifelong(Lasting):
    """An aggregate over all time: ``[code, held]``."""

    empty: Value = None

    def __init__(self, code: str, aggregate: Aggregate) -> None:
        self.code, self._aggregate = code, aggregate
        self.accept = aggregate.accept

    def new(self) -> Cell:
        return [self.code, None]

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Any) -> tuple[Value, Value]:  # noqa: ANN401 - what accept made
        before = self.read(cell, at_ms)
        cell[1] = value if cell[1] is None else self._aggregate.join(cell[1], value)
        return before, self._aggregate.show(cell[1])

    def read(self, cell: Cell, at_ms: int) -> Value:
        return None if cell[1] is None else self._aggregate.show(cell[1])

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        if two[1] is not None:
            self.fold(one, clock_ms, clock_ms, two[1])
        return one


class Sliding:
    """An aggregate over a sliding window: ``[code, tile_ms, shown, tiles]``."""

    empty: Value = None

    def __init__(self, code: str, aggregate: Aggregate, window_ms: int) -> None:
        self.code, self._aggregate = code, aggregate
        self._window = Window(window_ms, aggregate.join)
        self.accept = aggregate.accept

    def new(self) -> Cell:
        return [self.code, self._window.tile_ms, None, {}]

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Any) -> tuple[Value, Value]:  # noqa: ANN401 - what accept made
        before = cell[2]
        self._window.add(self._tiles(cell), at_ms, value, clock_ms)
        cell[2] = after = self.read(cell, clock_ms)
        return before, after

    def read(self, cell: Cell, at_ms: int) -> Value:
        held = self._window.held(self._tiles(cell), at_ms)
        return self._aggregate.show(reduce(self._aggregate.join, held)) if held else None

    def expiry_ms(self, cell: Cell) -> int:
        return 0 if cell[2] is None else self._window.empty_at_ms(self._tiles(cell))

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before, empty_ms = cell[2], self._window.empty_at_ms(self._tiles(cell))
        cell[2] = after = self.read(cell, now_ms)
        return before, after, min(now_ms, empty_ms or now_ms)

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        tiles = self._window.merged(self._tiles(one), self._tiles(two), clock_ms)
        made: Cell = [self.code, self._window.tile_ms, None, tiles]
        made[2] = self.read(made, clock_ms)
        return made

    def _tiles(self, cell: Cell) -> dict[int, Any]:
        if cell[1] != self._window.tile_ms:
            cell[3] = self._window.retile(cell[3], cell[1])
            cell[1] = self._window.tile_ms
        tiles: dict[int, Any] = cell[3]
        return tiles


class Distinct(Lasting):
    """A count of different values: ``[code, hashes, more]``, the least 64 hashes of 32 bits.

    Exact up to 64 values (but for two that share a hash: one such user in two million);
    over that (``more``) the count is told from how dense the least hashes lie, with a
    standard error of 1/sqrt(62), 13 %. The set of the least hashes depends neither on the
    order nor on what is merged with what.
    """

    code = "d"
    empty: Value = 0

    def new(self) -> Cell:
        return [self.code, [], False]

    def accept(self, raw: object) -> int | None:
        key = key_text(raw)
        if key is None:
            return None
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=_HASH_BYTES).digest())

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: int) -> tuple[Value, Value]:
        before, hashes = self.read(cell, at_ms), cell[1]
        place = bisect_left(hashes, value)
        if place == len(hashes) or hashes[place] != value:
            hashes.insert(place, value)
            if len(hashes) > MAX_HASHES:
                del hashes[-1]
                cell[2] = True
        return before, self.read(cell, at_ms)

    def read(self, cell: Cell, at_ms: int) -> Value:
        hashes: list[int] = cell[1]
        if not cell[2]:
            return len(hashes)
        return round((MAX_HASHES - 1) * 256**_HASH_BYTES / (hashes[-1] + 1))

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        hashes = sorted({*one[1], *two[1]})
        more = one[2] or two[2] or len(hashes) > MAX_HASHES
        return [self.code, hashes[:MAX_HASHES], more]


def key_text(raw: object) -> str | None:
    """Return a value as a key, 64 characters at most; ``None`` for lists, mappings, nothing."""
    if isinstance(raw, str):
        return raw[:MAX_KEY]
    if isinstance(raw, bool | int | float):
        return str(_json(raw) if abs(raw) < 2**63 else _json(float(raw)), "ascii")
    return None


def _pair(raw: object) -> list[int] | None:
    amount = scaled(raw)
    return None if amount is None else [amount, 1]


def _join_pairs(one: list[int], two: list[int]) -> list[int]:
    return [bounded(one[0] + two[0]), one[1] + two[1]]


def _mean(pair: list[int]) -> Value:
    return unscaled(round(pair[0] / pair[1]))


AVG: Final = Aggregate(_pair, _join_pairs, _mean)
MIN: Final = Aggregate(scaled, min, unscaled)
MAX: Final = Aggregate(scaled, max, unscaled)
