"""Kinds of tags: how each lives in a cell, a list that starts with the kind's code.

A new kind is one class with the methods of ``Kind`` and one case in ``catalogue.make_kind``.
Counts and sums read 0 and flags false where there is nothing; the others are missing.

Late and out-of-order events count by their event time, so all orders of arrival give one
value. ``merge`` makes of two users' cells what one user with all the events would have:
so it is associative, and does not depend on the order either.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

import msgspec

from streams.core.state.cells import Cell
from streams.core.tags.windows import MAX_TOTAL, Window, bounded

Value = str | int | float | bool | list[str] | dict[str, Any] | None
# Sums are kept as whole ten-thousandths, so that they do not depend on the order.
SCALE: Final = 10_000
MAX_AMOUNT: Final = 10**12
MAX_TEXT: Final = 256
_MAX_INT: Final = 2**63 - 1
UNMOVED: Final = (None, None)
_rank = msgspec.json.Encoder().encode


class Kind(Protocol):
    """How one kind of tag lives in a cell; times are in ms, ``clock`` is the user's."""

    @property
    def code(self) -> int:
        """Return the number that stands first in the kind's cells."""

    @property
    def empty(self) -> Value:
        """Return what a tag reads of which there is no cell."""

    def new(self) -> Cell:
        """Return the cell of a tag that has seen nothing."""

    def accept(self, raw: object) -> object | None:
        """Return what to fold of an event's value; ``None`` if it has none."""

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Any) -> tuple[Value, Value]:  # noqa: ANN401 - what accept made
        """Take a value in; return what was shown before and what is to be shown now.

        The two are ``UNMOVED`` or otherwise equal if nothing shown has moved.
        """

    def read(self, cell: Cell, at_ms: int) -> Value:
        """Return the value at a time."""

    def expiry_ms(self, cell: Cell) -> int:
        """Return when time alone moves what is shown; 0 for never.

        A kind may add ``bound_ms(cell, at_ms, clock_ms)``: after an event at ``at_ms``,
        a time not after it that costs less to find; and ``span_ms``: how long after an
        event that bound is at least. ``narrow(parts)``: from now on only these parts of the
        value need to move by time. And ``of_now``: at an event it shows what holds at the
        lane's time, up to which all its steps were taken, whatever its parts.
        """

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        """Let time pass: what was shown, what is to be shown now, and since when."""

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        """Return the cell of two users that are one; both may be changed by it."""


class Lasting:
    """Kinds that time alone does not move."""

    def expiry_ms(self, cell: Cell) -> int:
        return 0

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        value: Value = cell[-1]
        return value, value, now_ms


class Ever(Lasting):
    """A count or sum over all time: ``[code, total]``."""

    empty: ClassVar[Value] = 0

    def __init__(self, code: str, amount: "Amount") -> None:
        self.code, self._show = ord(code), amount.show
        self.accept = amount.accept

    def new(self) -> Cell:
        return [self.code, 0]

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: int) -> tuple[Value, Value]:
        before: int = cell[1]
        after = before + value
        cell[1] = after = after if -MAX_TOTAL < after < MAX_TOTAL else bounded(after)
        show = self._show
        return (before, after) if show is None else (show(before), show(after))

    def read(self, cell: Cell, at_ms: int) -> Value:
        total: int = cell[1]
        return total if self._show is None else self._show(total)

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        return [self.code, bounded(one[1] + two[1])]


class Rolling:
    """A count or sum in a sliding window: the cell of a ``Window``."""

    empty: ClassVar[Value] = 0

    def __init__(self, code: str, amount: "Amount", window_ms: int) -> None:
        self.code, self._show, self._window = ord(code), amount.show, Window(window_ms)
        self.accept, self.bound_ms, self.span_ms = amount.accept, self._window.bound_ms, window_ms

    def new(self) -> Cell:
        return self._window.new(self.code, 0)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: int) -> tuple[Value, Value]:
        before: int = cell[2]
        alone = self._window.add(cell, at_ms, value, clock_ms)
        after = before + value if alone else self._window.total(cell, clock_ms)
        cell[2] = after = after if -MAX_TOTAL < after < MAX_TOTAL else bounded(after)
        show = self._show
        return (before, after) if show is None else (show(before), show(after))

    def read(self, cell: Cell, at_ms: int) -> Value:
        total = bounded(self._window.total(cell, at_ms))
        return total if self._show is None else self._show(total)

    def expiry_ms(self, cell: Cell) -> int:
        return self._window.empty_at_ms(cell) if cell[2] else 0

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        before: int = cell[2]
        empty_ms = self._window.empty_at_ms(cell)
        cell[2] = after = bounded(self._window.total(cell, now_ms))
        since_ms = min(now_ms, empty_ms or now_ms)
        show = self._show
        return (before, after, since_ms) if show is None else (show(before), show(after), since_ms)

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        made = self._window.merge(one, two, clock_ms)
        made[2] = bounded(self._window.total(made, clock_ms))
        return made


class Pick(Lasting):
    """The value of the latest (or earliest) event by event time: ``[code, time, value]``."""

    empty: ClassVar[Value] = None

    def __init__(self, code: str, *, latest: bool) -> None:
        self.code, self._latest = ord(code), latest

    def new(self) -> Cell:
        return [self.code, None, None]

    def accept(self, raw: object) -> object | None:
        return plain(raw)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Value) -> tuple[Value, Value]:
        time_ms, before = cell[1], cell[2]
        if time_ms is None or (
            (at_ms > time_ms) is self._latest
            if at_ms != time_ms
            else better(at_ms, value, time_ms, before, latest=self._latest)
        ):
            cell[1], cell[2] = at_ms, value
            return before, value
        return UNMOVED

    def read(self, cell: Cell, at_ms: int) -> Value:
        value: Value = cell[2]
        return value

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        if two[1] is not None:
            self.fold(one, two[1], clock_ms, two[2])
        return one


def better(at_ms: int, value: Value, held_ms: int, held: Value, *, latest: bool) -> bool:
    """Say whether a value takes the place of the one held, for the latest or the earliest."""
    if at_ms != held_ms:
        return (at_ms > held_ms) is latest
    # Two events of one millisecond: the value itself decides, never who came first.
    return _rank(value) > _rank(held)


class Flag:
    """True from the latest ``on`` for ttl, or to an ``until``: ``[code, on, off, shown]``."""

    empty: ClassVar[Value] = False

    def __init__(self, code: str, ttl_ms: int | None) -> None:
        self.code, self._ttl_ms = ord(code), ttl_ms

    def new(self) -> Cell:
        return [self.code, None, None, False]

    def accept(self, raw: object) -> object | None:
        return raw

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: bool) -> tuple[Value, Value]:  # noqa: FBT001 - the protocol's signature
        side = 1 if value else 2
        if cell[side] is None or at_ms > cell[side]:
            cell[side] = at_ms
        before, after = cell[3], self.read(cell, clock_ms)
        cell[3] = after
        return before, after

    def read(self, cell: Cell, at_ms: int) -> Value:
        _, on_ms, off_ms, _ = cell
        if on_ms is None or (off_ms is not None and off_ms > on_ms):
            return False
        return self._ttl_ms is None or at_ms < on_ms + self._ttl_ms

    def expiry_ms(self, cell: Cell) -> int:
        return cell[1] + self._ttl_ms if cell[3] and self._ttl_ms is not None else 0

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        since_ms = self.expiry_ms(cell) or now_ms
        before, after = cell[3], self.read(cell, now_ms)
        cell[3] = after
        return before, after, since_ms

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        for side, value in ((1, True), (2, False)):
            if two[side] is not None:
                self.fold(one, two[side], clock_ms, value)
        return one


@dataclass(frozen=True, slots=True)
class Amount:
    """What is added up, as whole numbers, and how the total is shown."""

    accept: Callable[[object], int | None]
    # None: as it is.
    show: Callable[[int], int | float] | None


def _one(raw: object) -> int:  # noqa: ARG001 - each event is one, whatever it holds
    return 1


def scaled(raw: object) -> int | None:
    """Return a number as ten-thousandths; ``None`` if it is none."""
    if type(raw) is float and -MAX_AMOUNT < raw < MAX_AMOUNT:
        return round(raw * SCALE)
    if type(raw) is int or type(raw) is float:
        return round(max(-MAX_AMOUNT, min(MAX_AMOUNT, raw)) * SCALE)
    return None


def unscaled(total: int) -> int | float:
    """Return the number of so many ten-thousandths."""
    return total / SCALE if total % SCALE else total // SCALE


def plain(raw: object) -> Value:
    """Return a value small enough to hold; ``None`` for lists, mappings and nothing."""
    if isinstance(raw, str):
        return raw[:MAX_TEXT]
    if isinstance(raw, bool) or type(raw) is float:
        return raw
    if isinstance(raw, int):
        return raw if -_MAX_INT <= raw <= _MAX_INT else float(raw)
    return None


COUNT: Final = Amount(_one, None)
SUM: Final = Amount(scaled, unscaled)
