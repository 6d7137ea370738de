"""What every kind of tag does with its cell, a list that starts with the kind's code.

A new kind is a class with the methods of ``Kind``, a ``KindSpec`` and a line in the catalogue.

Late and out-of-order events count by their event time, so all orders of arrival give one
value. ``merge`` gives the cell of one user with the events of both, so its result depends
neither on order nor on grouping.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from typing import Any, Final, Protocol

import msgspec

from streams.core.state.cells import Cell
from streams.core.tags.values import Value

UNMOVED: Final = (None, None)
_rank = msgspec.json.Encoder().encode


class Kind(Protocol):
    """How one kind of tag lives in a cell; times are in ms, ``clock`` is the user's."""

    @property
    def code(self) -> int:
        """Return the number that stands first in the kind's cells."""

    @property
    def empty(self) -> Value:
        """Return the value of a tag that has no cell."""

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
        """Let time pass; return what was shown, what is to be shown now, and since when."""

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        """Return the cell of two users who are one; may change both cells."""


class Lasting:
    """Kinds that time alone does not move."""

    def expiry_ms(self, cell: Cell) -> int:
        return 0

    def expire(self, cell: Cell, now_ms: int) -> tuple[Value, Value, int]:
        value: Value = cell[-1]
        return value, value, now_ms


def better(at_ms: int, value: Value, kept_ms: int, kept: Value, *, latest: bool) -> bool:
    """Say whether a value takes the place of the one kept, for the latest or the earliest."""
    if at_ms != kept_ms:
        return (at_ms > kept_ms) is latest
    # Two events of one millisecond: the value itself decides, never who came first.
    return _rank(value) > _rank(kept)
