"""A count of different values: exact while there are few, then a sketch."""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from functools import reduce
from typing import ClassVar

from schemas.events import Event
from streams.core.language.compile import Getter
from streams.core.state.cells import Cell
from streams.core.tags.kind import UNMOVED, Lasting
from streams.core.tags.sketch import (
    EMPTY,
    HASH_BYTES,
    MAX_HASHES,
    estimate,
    hash_of,
    hashes_of,
    registered,
)
from streams.core.tags.values import MAX_KEY, Value, key_text


class Distinct(Lasting):
    """A count of different values: ``[code, hashes or sketch, count of the sketch]``.

    Exact up to 16 values, kept as hashes of 32 bits (two share one for a user in 36
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

    def taker(self, value: Getter) -> Getter:
        """Return what hashes the value of an event, as ``accept`` would."""
        accept = self.accept

        def take(event: Event) -> object:
            raw = value(event)
            return hash_of(raw) if type(raw) is str and len(raw) <= MAX_KEY else accept(raw)

        return take

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: bytes) -> tuple[Value, Value]:
        hashes, before = cell[1], cell[2]
        if before:
            sketch = registered(hashes, value)
            if sketch is hashes:
                return UNMOVED
            _set(cell, sketch)
            return before, cell[2]
        # Bytes of two neighbours may spell a hash across their border.
        if value in hashes and value in hashes_of(hashes):
            return UNMOVED
        cell[1] = hashes + value
        before = len(hashes) // HASH_BYTES
        if before == MAX_HASHES:
            _set(cell, reduce(registered, hashes_of(cell[1]), EMPTY))
        return before, cell[2] or before + 1

    def read(self, cell: Cell, at_ms: int) -> Value:
        sketched: int = cell[2]
        return sketched or len(cell[1]) // HASH_BYTES

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        if other[2]:
            cell, other = other, cell
        if not other[2]:
            for value in hashes_of(other[1]):
                self.fold(cell, clock_ms, clock_ms, value)
        else:
            _set(cell, bytes(map(max, cell[1], other[1])))
        return cell


def _set(cell: Cell, sketch: bytes) -> None:
    cell[1], cell[2] = sketch, max(MAX_HASHES + 1, round(estimate(sketch)))
