"""Values from outside: what an import said of a user last, by its own time.

The events are those that `siyu tags import` writes. They come through the same doors as all
others, so a tag takes only those of a server's key: no app can give itself a value.
"""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from collections.abc import Callable
from typing import Any, ClassVar, Final

import msgspec

from schemas.events import Event
from streams.core.state.cells import Cell
from streams.core.tags.kind import Lasting
from streams.core.tags.values import Value, plain

_rank: Final = msgspec.json.Encoder().encode


class Imported(Lasting):
    """``[code, time_ms, value]``: the latest; of one millisecond the value decides.

    A value of nothing takes the tag away, and stays as a mark of when.
    """

    code: ClassVar[int] = ord("i")
    empty: ClassVar[Value] = None

    def new(self) -> Cell:
        return [self.code, None, None]

    def accept(self, raw: object) -> object | None:
        return raw

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: Any) -> tuple[Value, Value]:  # noqa: ANN401 - what imported() made
        before: Value = cell[2]
        new = (at_ms, _rank(value[0]))
        if cell[1] is None or new > (cell[1], _rank(before)):
            cell[1], cell[2] = at_ms, value[0]
        return before, cell[2]

    def read(self, cell: Cell, at_ms: int) -> Value:
        value: Value = cell[2]
        return value

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        if other[1] is not None:
            self.fold(cell, other[1], clock_ms, (other[2],))
        return cell


def imported(tag: str) -> Callable[[Event], object]:
    """Return what reads an import of a tag: a tuple of its value, or nothing."""

    def read(event: Event) -> object:
        properties = event.properties
        if properties.get("tag") != tag or event.source != "server":
            return None
        return (plain(properties.get("value")),)

    return read
