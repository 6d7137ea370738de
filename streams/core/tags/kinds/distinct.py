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

    def taker(self, value: Getter) -> Getter:
        """Return what hashes the value of an event, as ``accept`` would."""
        accept = self.accept

        def take(event: Event) -> object:
            found = value(event)
            return hash_of(found) if type(found) is str and len(found) <= MAX_KEY else accept(found)

        return take

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
