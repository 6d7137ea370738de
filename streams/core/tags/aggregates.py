"""Means, extremes and distinct counts: ever, or in a sliding window of tiles.

All are joined by functions for which order and grouping do not matter: late and
out-of-order events count fully, and ``merge`` is exact. Windows err by at most a tile (a
96th of the window) at either end. Where there is nothing, a distinct count reads 0 and
the others are missing.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Final

import msgspec

from streams.core.state.cells import Cell
from streams.core.tags.kinds import UNMOVED, Lasting, Value, scaled, unscaled
from streams.core.tags.sketch import (
    EMPTY,
    HASH_BYTES,
    MAX_HASHES,
    estimate,
    hash_of,
    hashes_of,
    registered,
)
from streams.core.tags.windows import Window, bounded

MAX_KEY: Final = 64
_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What is held of values, how two make one, and how it is shown."""

    accept: Callable[[object], Any]
    join: Callable[[Any, Any], Any]
    show: Callable[[Any], Value]


class Lifelong(Lasting):
    """An aggregate over all time: ``[code, held]``."""

    empty: ClassVar[Value] = None

    def __init__(self, code: str, aggregate: Aggregate) -> None:
        self.code, self._aggregate = ord(code), aggregate
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
    """An aggregate over a sliding window: the cell of a ``Window``."""

    empty: ClassVar[Value] = None

    def __init__(self, code: str, aggregate: Aggregate, window_ms: int) -> None:
        self.code, self._aggregate = ord(code), aggregate
        self._window = Window(window_ms, aggregate.join)
        self.accept, self.bound_ms = aggregate.accept, self._window.bound_ms
        self.span_ms = window_ms

    def new(self) -> Cell:
        return self._window.new(self.code, None)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Any) -> tuple[Value, Value]:  # noqa: ANN401 - what accept made
        before = cell[2]
        self._window.add(cell, at_ms, value, clock_ms)
        cell[2] = after = self.read(cell, clock_ms)
        return before, after

    def read(self, cell: Cell, at_ms: int) -> Value:
        held = self._window.held(cell, at_ms)
        return self._aggregate.show(reduce(self._aggregate.join, held)) if held else None

    def expiry_ms(self, cell: Cell) -> int:
        return 0 if cell[2] is None else self._window.empty_at_ms(cell)

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before, empty_ms = cell[2], self._window.empty_at_ms(cell)
        cell[2] = after = self.read(cell, now_ms)
        return before, after, min(now_ms, empty_ms or now_ms)

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        made = self._window.merge(one, two, clock_ms)
        made[2] = self.read(made, clock_ms)
        return made


class Distinct(Lasting):
    """A count of different values: ``[code, hashes or sketch, count of the sketch]``.

    Exact up to 16 values, held as hashes of 32 bits (two share one for a user in 36
    million); over that a HyperLogLog sketch of 64 registers with a standard error of 13 %.
    Which of the two, and every register, follows from the set of values alone: it depends
    neither on the order nor on what is merged with what.
    """

    code: ClassVar[int] = ord("d")
    empty: ClassVar[Value] = 0

    def new(self) -> Cell:
        return [self.code, b"", 0]

    def accept(self, raw: object) -> bytes | None:
        key = key_text(raw)
        return None if key is None else hash_of(key)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: bytes) -> tuple[Value, Value]:
        held, before = cell[1], cell[2]
        if before:
            sketch = registered(held, value)
            if sketch is held:
                return UNMOVED
            _set(cell, sketch)
            return before, cell[2]
        # Bytes of two neighbours may spell a hash across their border.
        if value in held and value in hashes_of(held):
            return UNMOVED
        cell[1] = held + value
        before = len(held) // HASH_BYTES
        if before == MAX_HASHES:
            _set(cell, reduce(registered, hashes_of(cell[1]), EMPTY))
        return before, cell[2] or before + 1

    def read(self, cell: Cell, at_ms: int) -> Value:
        sketched: int = cell[2]
        return sketched or len(cell[1]) // HASH_BYTES

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        if two[2]:
            one, two = two, one
        if not two[2]:
            for value in hashes_of(two[1]):
                self.fold(one, clock_ms, clock_ms, value)
        else:
            _set(one, bytes(map(max, one[1], two[1])))
        return one


def _set(cell: Cell, sketch: bytes) -> None:
    cell[1], cell[2] = sketch, max(MAX_HASHES + 1, round(estimate(sketch)))


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
