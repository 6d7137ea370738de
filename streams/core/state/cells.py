"""The cells of one user's tags: packed in groups, each decoded when it is first asked for.

What is not asked for is copied as bytes and costs nothing else. Layout and reasons:
docs/decisions/state.md.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec

from schemas.errors import SiyuError

Cell = list[Any]
# The cells of a group in the order of its numbers; ``None`` where there is none yet.
Row = list[Cell | None]
NUMBER_BYTES: Final = 4
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[Any] | None]).decode


class StateUnreadable(SiyuError):
    """A packed state cannot be read: rebuild it by a replay, or run the version that wrote it."""


def number_of(tag: str) -> bytes:
    """Return the number under which states hold a tag: a hash of its id, for ever the same."""
    return hashlib.blake2b(tag.encode(), digest_size=NUMBER_BYTES).digest()


class Group:
    """Numbers of tags that are packed together: those that the same events move.

    The groups that a state is written by share no number.
    """

    __slots__ = ("joined", "numbers")

    def __init__(self, numbers: Iterable[bytes]) -> None:
        self.numbers = tuple(numbers)
        self.joined = b"".join(self.numbers)


class Cells:
    """The cells of a user, by groups; groups that were opened to be written are packed again.

    Packed: a map from the numbers of a group to its cells, both as bytes. How tags are
    grouped is for the writer to say: a reader finds a cell in any group, and what it does
    not write stays where and as it is.
    """

    __slots__ = ("_open", "_packed", "_written")

    def __init__(self, packed: dict[bytes, bytes] | None = None) -> None:
        self._packed: dict[bytes, bytes] = packed or {}
        self._open: dict[Group, Row] = {}
        self._written: dict[Group, None] = {}

    def read(self, group: Group) -> Row:
        """Return the cells of a group; the caller does not change them."""
        if group in self._open:
            return self._open[group]
        packed = self._packed.get(group.joined)
        row = self._gather(group) if packed is None else _row(group.joined, packed)
        self._open[group] = row
        return row

    def write(self, group: Group) -> Row:
        """Return the cells of a group, which the caller changes or sets."""
        self._written[group] = None
        return self._open[group] if group in self._open else self.read(group)

    def packed(self) -> dict[bytes, bytes]:
        """Return all groups packed; those that nobody wrote are as they came."""
        packed = self._packed
        if self._written:
            packed = packed.copy()
            for group in self._written:
                if group.joined not in packed:
                    _drop(packed, set(group.numbers))
                packed[group.joined] = _encode(self._open[group])
        return packed

    def items(self) -> Iterator[tuple[bytes, Cell]]:
        """Yield the number and the content of each cell, also of those that nobody knows."""
        for numbers, packed in self.packed().items():
            row = _row(numbers, packed)
            yield from ((n, cell) for n, cell in zip(_split(numbers), row, strict=True) if cell)

    def __len__(self) -> int:
        return sum(1 for _ in self.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cells) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Cells({ {number.hex(): cell for number, cell in self.items()} })"

    def _gather(self, group: Group) -> Row:
        """Return the cells of a group that is packed otherwise: new, or of another rulebook."""
        if not self._packed:
            return [None] * len(group.numbers)
        by_number: dict[bytes, Cell | None] = {}
        for numbers, packed in self._packed.items():
            members = _split(numbers)
            if any(number in members for number in group.numbers):
                by_number |= zip(members, _row(numbers, packed), strict=True)
        return [by_number.get(number) for number in group.numbers]


def _drop(packed: dict[bytes, bytes], gone: set[bytes]) -> None:
    """Take cells out of the groups that they were packed in."""
    for numbers in list(packed):
        members = _split(numbers)
        if gone.isdisjoint(members):
            continue
        row = zip(members, _row(numbers, packed.pop(numbers)), strict=True)
        rest = {number: cell for number, cell in row if number not in gone and cell is not None}
        if rest:
            packed[b"".join(rest)] = _encode(list(rest.values()))


def _row(numbers: bytes, packed: bytes) -> Row:
    try:
        row = _decode(packed)
    except msgspec.MsgspecError as broken:
        raise StateUnreadable(f"cells {numbers.hex()} of a packed state: {broken}") from broken
    if len(row) * NUMBER_BYTES != len(numbers):
        raise StateUnreadable(f"cells {numbers.hex()} of a packed state: there are {len(row)}")
    return row


@lru_cache(maxsize=4096)
def _split(numbers: bytes) -> tuple[bytes, ...]:
    steps = range(0, len(numbers), NUMBER_BYTES)
    return tuple(numbers[at : at + NUMBER_BYTES] for at in steps)
