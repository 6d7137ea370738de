"""The cells of one user's tags: packed in groups, each decoded when it is first asked for.

What is not asked for is copied as bytes and costs nothing else. Layout and reasons:
docs/decisions/state.md.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec

from schemas.errors import SiyuError

Cell = list[Any]
NUMBER_BYTES: Final = 4
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[Any]]).decode


class StateUnreadable(SiyuError):
    """A packed state cannot be read: rebuild it by a replay, or run the version that wrote it."""


def number_of(tag: str) -> bytes:
    """Return the number under which states hold a tag: a hash of its id, for ever the same."""
    return hashlib.blake2b(tag.encode(), digest_size=NUMBER_BYTES).digest()


class Group:
    """Numbers of tags that are written together: those that the same events move.

    The groups that one state is written by share no number.
    """

    __slots__ = ("joined", "numbers")

    def __init__(self, *numbers: bytes) -> None:
        self.numbers, self.joined = numbers, b"".join(numbers)


class Cells:
    """Cells by tag number; those that were taken to be written are packed anew.

    Packed: a list of the numbers and the cells of each group in turn, both as bytes. How
    tags are grouped is for the writer to say: a reader finds a cell in any group, and what
    it does not write stays where it is. What was written last stands last.
    """

    __slots__ = ("_dirty", "_held", "_open", "_packed")

    def __init__(self, packed: list[bytes] | None = None) -> None:
        self._packed: list[bytes] = packed or []
        self._held: dict[bytes, Cell | None] = {}
        self._open: set[int] = set()
        self._dirty: dict[Group, None] = {}

    def get(self, number: bytes) -> Cell | None:
        """Return a cell to be read, ``None`` if there is none."""
        held = self._held
        return held[number] if number in held else self._find(number)

    def take(self, number: bytes, group: Group) -> Cell | None:
        """Return a cell that the caller changes."""
        held = self._held
        self._dirty[group] = None
        return held[number] if number in held else self._find(number)

    def put(self, number: bytes, cell: Cell, group: Group) -> None:
        """Set a cell, in place of the one that is there."""
        self._dirty[group] = None
        if number not in self._held:
            self._find(number)
        self._held[number] = cell

    def packed(self) -> list[bytes]:
        """Return the groups: those that nobody wrote as they came, then the written ones."""
        if not self._dirty:
            return self._packed
        held, find, made = self._held, self._find, list[bytes]()
        for group in self._dirty:
            cells = [held[one] if one in held else find(one) for one in group.numbers]
            joined = group.joined
            if None in cells:
                there = zip(group.numbers, cells, strict=True)
                joined = b"".join([one for one, cell in there if cell is not None])
                cells = [cell for cell in cells if cell is not None]
            if joined:
                made.append(joined)
                made.append(_encode(cells))
        return self._left() + made

    def items(self) -> Iterator[tuple[bytes, Cell]]:
        """Yield the number and the content of each cell, also of those that nobody knows."""
        packed = self.packed()
        for at in range(0, len(packed), 2):
            yield from zip(_split(packed[at]), _cells(packed[at], packed[at + 1]), strict=True)

    def __len__(self) -> int:
        return sum(1 for _ in self.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cells) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Cells({ {number.hex(): cell for number, cell in self.items()} })"

    def _find(self, number: bytes) -> Cell | None:
        packed, held = self._packed, self._held
        # From the end: what was written lately is written again.
        for at in range(len(packed) - 2, -1, -2):
            numbers = packed[at]
            if number in numbers and number in (ones := _split(numbers)):
                self._open.add(at)
                held.update(zip(ones, _cells(numbers, packed[at + 1]), strict=True))
                return held[number]
        held[number] = None
        return None

    def _left(self) -> list[bytes]:
        """Return the groups without the cells that are written anew."""
        packed, left, moved = self._packed, list[bytes](), set[bytes]()
        whole = {group.joined for group in self._dirty}
        for at in range(0, len(packed), 2):
            numbers, cells = packed[at], packed[at + 1]
            if at in self._open:
                if numbers in whole:
                    continue
                moved = moved or {one for group in self._dirty for one in group.numbers}
                ones = [one for one in _split(numbers) if one not in moved]
                if not ones:
                    continue
                numbers = b"".join(ones)
                if len(numbers) < len(packed[at]):
                    cells = _encode([self._held[one] for one in ones])
            left.append(numbers)
            left.append(cells)
        return left


def _cells(numbers: bytes, packed: bytes) -> list[Cell]:
    try:
        cells = _decode(packed)
    except msgspec.MsgspecError as broken:
        raise StateUnreadable(f"cells {numbers.hex()} of a packed state: {broken}") from broken
    if len(cells) * NUMBER_BYTES != len(numbers):
        raise StateUnreadable(f"cells {numbers.hex()} of a packed state: there are {len(cells)}")
    return cells


@lru_cache(maxsize=4096)
def _split(numbers: bytes) -> tuple[bytes, ...]:
    steps = range(0, len(numbers), NUMBER_BYTES)
    return tuple(numbers[at : at + NUMBER_BYTES] for at in steps)
