"""Checks of what tags and rules name: events, properties, tags, caps."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Final

from schemas.conditions import Condition, Ref, parse_ref
from schemas.faults import Fault, Place, suggest
from schemas.plan import Plan, PlannedEvent
from schemas.policies import Policies
from schemas.tags import MadeTag, Tag
from streams.core.tags.catalogue import spec_of
from streams.core.tags.exprs import expr_refs

_PART_DEPTH: Final = 2
_OWN: Final = "if it is your own, name it under declares"


class Names:
    """What a rulebook may name: planned and declared events and properties, tags, caps."""

    def __init__(
        self,
        declares: Iterable[dict[str, list[str]]],
        tags: Iterable[Tag],
        policies: Policies,
        plan: Plan,
        *,
        broken_tags: Collection[str] = (),
        unread: Collection[str] = (),
    ) -> None:
        """Take what the files hold; ``unread`` are parts of which some could not be read.

        What only such a part could explain is no fault: an unknown tag where tags are unread.
        """
        self.plan, self._broken_tags, self.unread = plan, broken_tags, unread
        self._planned = {name: _names(event) for name, event in plan.events.items()}
        self._own: dict[str, set[str]] = {}
        for declared in declares:
            for event, properties in declared.items():
                self._own.setdefault(event, set()).update(properties)
        self.tags, self.policies = {tag.id: tag for tag in tags}, policies

    def tag(self, tag: Tag) -> Iterator[Fault]:
        """Yield what is wrong with a tag, with places from its own root."""
        if isinstance(tag, MadeTag):
            yield from self._expr(tag)
            return
        yield from self.match(tag.event, tag.where, ())
        path = getattr(tag, "value", None)
        if path is not None:
            yield from self.path(path, tag.event, ("value",))
        for event in getattr(tag, "weights", {}):
            if event not in tag.event and "*" not in tag.event:
                hint = suggest(event, tag.event) or f"its events are {', '.join(tag.event)}"
                yield Fault(("weights", event), f"{event} is no event of the tag", hint)
        if tag.ended_by is not None:
            yield from self.match(tag.ended_by.event, tag.ended_by.where, ("until",))

    def _expr(self, tag: MadeTag) -> Iterator[Fault]:
        """Check an expr: what it reads is there, and in the end does not read it."""
        try:
            reads = list(expr_refs(tag))
        except Fault as fault:
            yield fault
            return
        for ref in reads:
            if ref.root != "tag":
                yield Fault(ref.place, f"{ref}: an expr reads tags only", "write tag.NAME")
                continue
            yield from self.ref(ref, [])
            if tag.id in self._reads(ref.path[0], set()):
                hint = "make it of tags that do not need it"
                yield Fault(ref.place, f"{tag.id} is made of itself, by {ref}", hint)

    def _reads(self, tag_id: str, seen: set[str]) -> set[str]:
        """Return a tag and all that it is made of."""
        seen.add(tag_id)
        tag = self.tags.get(tag_id)
        if isinstance(tag, MadeTag):
            with suppress(Fault):  # it is a fault of that tag itself
                for ref in expr_refs(tag):
                    if ref.path and ref.path[0] not in seen:
                        self._reads(ref.path[0], seen)
        return seen

    def match(self, events: list[str], where: Condition, place: Place) -> Iterator[Fault]:
        """Yield the wrong names of events, and what is wrong with a condition on them."""
        for event in events:
            if event == "*" or event in self._planned or event in self._own:
                continue
            near = suggest(event, [*self._planned, *self._own])
            if near and "declares" not in self.unread:
                yield Fault((*place, "event"), f"unknown event {event}", f"{near} {_OWN}")
        for ref in where.refs():
            for fault in self.ref(ref, events):
                yield fault.within((*place, "where"))

    def path(self, text: str, events: list[str], place: Place) -> Iterator[Fault]:
        """Yield what is wrong with a path into events of these names."""
        try:
            ref = parse_ref(text, place, tags=False)
        except Fault as fault:
            yield fault
        else:
            yield from self.ref(ref, events)

    def ref(self, ref: Ref, events: list[str]) -> Iterator[Fault]:
        """Yield what is wrong with a parsed path, at its own place."""
        if ref.root == "tag":
            missing = ref.path[0] not in self.tags
            if ref.path[0] in self._broken_tags or (missing and "tags" in self.unread):
                return  # what is wrong with it is a fault of its own
            if ref.path[0] not in self.tags:
                hint = suggest(ref.path[0], self.tags) or "define it under tags"
                yield Fault(ref.place, f"unknown tag {ref.path[0]}", hint)
            elif len(ref.path) > 1:
                yield from self._part(self.tags[ref.path[0]], ref)
        if ref.root != "properties":
            return
        known = [self._properties(event) for event in events]
        if any(properties is None or ref.path[0] in properties for properties in known):
            return
        if "declares" in self.unread:
            return
        names = sorted({name for properties in known if properties for name in properties})
        hint = suggest(ref.path[0], names) or f"it has {', '.join(names)}"
        problem = f"{', '.join(events)} has no property {ref.path[0]}"
        yield Fault(ref.place, problem, f"{hint}; {_OWN}")

    def _part(self, tag: Tag, ref: Ref) -> Iterator[Fault]:
        """Check a path into a tag's value: only some kinds have parts."""
        spec = spec_of(tag)
        known = spec.each_part is not None or ref.path[1] in spec.parts
        if len(ref.path) == _PART_DEPTH and known:
            return
        hint = f"it has {', '.join(spec.parts)}" if spec.parts else f"write tag.{tag.id}"
        yield Fault(ref.place, f"{tag.id} ({tag.kind}) has no part {'.'.join(ref.path[1:])}", hint)

    def _properties(self, event: str) -> set[str] | None:
        """Return the properties of an event, ``None`` where any may stand."""
        planned = self._planned.get(event)
        return planned | self._own.get(event, set()) if planned else None


def _names(event: PlannedEvent) -> set[str]:
    """Return the names of an event's properties as they are kept."""
    return {
        f"{name}_hmac" if spec.pii in ("phone", "email") else name
        for name, spec in event.properties.items()
        if spec.pii != "secret"
    }
