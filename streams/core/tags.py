"""Live tags: fold events into the values that a user holds.

A cell that another kind of tag wrote starts anew; a change of a tag's window, ttl or
condition goes on from what is held.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from schemas.events import Event
from schemas.tags import EventTag, ExprTag
from schemas.touches import TagChange
from streams.core.catalogue import make_kind
from streams.core.compile import Getter, Predicate
from streams.core.exprs import expr_refs, make_expr
from streams.core.kinds import Value, plain
from streams.core.state import Cell, State, make_id


class LiveTag:
    """One tag of the rulebook at work on states."""

    def __init__(self, tag: EventTag) -> None:
        self.id, self.kind = tag.id, make_kind(tag)

    def cell(self, state: State) -> Cell | None:
        """Return what the user holds of this tag; another kind's cell does not count."""
        cell = state.tags.get(self.id)
        return cell if cell is not None and cell[0] == self.kind.code else None

    def read(self, state: State, at_ms: int) -> Value:
        """Return the value at a time."""
        cell = self.cell(state)
        return self.kind.empty if cell is None else self.kind.read(cell, at_ms)

    def expire(self, state: State, user: str, now_ms: int) -> Iterator[TagChange]:
        """Let time pass over the tag; yield each change of what is shown."""
        cell = self.cell(state)
        while cell is not None:
            before, after, time_ms = self.kind.expire(cell, now_ms)
            if before == after:
                return
            yield by_time(user, self.id, before, after, time_ms)


class LiveExpr:
    """One tag that is made of others; its cell, ``["=", shown]``, is what was last written."""

    code = "="

    def __init__(self, tag: ExprTag) -> None:
        self.id, self._make = tag.id, make_expr(tag)
        self.reads = frozenset(ref.path[0] for ref in expr_refs(tag, ()))
        self._inputs: dict[str, LiveTag | LiveExpr] = {}

    def bind(self, tags: "dict[str, LiveTag | LiveExpr]") -> None:
        """Take the tags that it is made of, once all are there."""
        self._inputs = {one: tags[one] for one in self.reads}

    def touched(self, state: State) -> bool:
        """Say whether a tag that it is made of has seen something."""
        return any(
            one.touched(state) if isinstance(one, LiveExpr) else one.cell(state) is not None
            for one in self._inputs.values()
        )

    def read(self, state: State, at_ms: int) -> Value:
        """Return the value at a time."""
        if not self.touched(state):
            return None
        return plain(self._make(lambda tag: self._inputs[tag].read(state, at_ms)))

    def move(self, state: State, at_ms: int) -> tuple[Value, Value]:
        """Make the value anew at a time; return what was written and what is to be."""
        cell = state.tags.get(self.id)
        before = cell[1] if cell is not None and cell[0] == self.code else None
        after = self.read(state, at_ms)
        if before != after:
            state.tags[self.id] = [self.code, after]
        return before, after


def in_order(exprs: Iterable[LiveExpr]) -> list[LiveExpr]:
    """Return exprs such that each stands after those that it reads."""
    waiting, done = {one.id: one for one in exprs}, list[LiveExpr]()
    while waiting:
        ready = [one for one in waiting.values() if not one.reads & waiting.keys()]
        done += ready
        for one in ready:
            del waiting[one.id]
    return done


def by_time(user: str, tag: str, before: Value, after: Value, time_ms: int) -> TagChange:
    """Return the record of a value that time alone moved."""
    change_id = make_id(user, tag, f"@{time_ms}")
    return TagChange(
        change_id=change_id, user=user, tag=tag, before=before, after=after, time_ms=time_ms
    )


def by_event(event: Event, tag: str, before: Value, after: Value, at_ms: int) -> TagChange:
    """Return the record of a value that an event moved."""
    return TagChange(
        change_id=make_id(event.user, tag, event.message_id),
        user=event.user,
        tag=tag,
        before=before,
        after=after,
        time_ms=at_ms,
        message_id=event.message_id,
    )


@dataclass(frozen=True, slots=True)
class Arm:
    """One way into a tag: events that pass ``where`` bring ``value``."""

    tag: LiveTag
    where: Predicate | None
    value: Getter

    def fold(self, state: State, event: Event, at_ms: int, clock_ms: int) -> TagChange | None:
        """Fold an event into the tag; return the change, if there is one."""
        if self.where is not None and not self.where(event):
            return None
        tag, kind = self.tag, self.tag.kind
        value = kind.accept(self.value(event))
        if value is None:
            return None
        cell = tag.cell(state)
        if cell is None:
            cell = state.tags[tag.id] = kind.new()
        before, after = kind.fold(cell, at_ms, clock_ms, value)
        expiry_ms = kind.expiry_ms(cell)
        if expiry_ms and (not state.expiry_ms or expiry_ms < state.expiry_ms):
            state.expiry_ms = expiry_ms
        return None if before == after else by_event(event, tag.id, before, after, at_ms)
