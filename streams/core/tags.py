"""Live tags: fold events into the values that a user holds.

A cell that another kind of tag wrote starts anew; a change of a tag's window, ttl or
condition goes on from what is held.
"""

from dataclasses import dataclass

from schemas.events import Event
from schemas.tags import Tag
from schemas.touches import TagChange
from streams.core.compile import Getter, Predicate
from streams.core.kinds import Value, make_kind
from streams.core.state import Cell, State, make_id


class LiveTag:
    """One tag of the rulebook at work on states."""

    def __init__(self, tag: Tag) -> None:
        self.id, self.kind = tag.id, make_kind(tag)

    def cell(self, state: State) -> Cell | None:
        """Return what the user holds of this tag; another kind's cell does not count."""
        cell = state.tags.get(self.id)
        return cell if cell is not None and cell[0] == self.kind.code else None

    def read(self, state: State, at_ms: int) -> Value:
        """Return the value at a time."""
        cell = self.cell(state)
        return self.kind.empty if cell is None else self.kind.read(cell, at_ms)

    def change(self, event: Event, before: Value, after: Value, at_ms: int) -> TagChange:
        """Return the record of a value that an event moved."""
        return TagChange(
            change_id=make_id(event.user, self.id, event.message_id),
            user=event.user,
            tag=self.id,
            before=before,
            after=after,
            time_ms=at_ms,
            message_id=event.message_id,
        )

    def expire(self, state: State, user: str, now_ms: int) -> TagChange | None:
        """Let time pass over the tag; return the change, if what is shown moved."""
        cell = self.cell(state)
        if cell is None:
            return None
        before, after, time_ms = self.kind.expire(cell, now_ms)
        if before == after:
            return None
        change_id = make_id(user, self.id, f"@{time_ms}")
        return TagChange(
            change_id=change_id, user=user, tag=self.id, before=before, after=after, time_ms=time_ms
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
        return None if before == after else tag.change(event, before, after, at_ms)
