"""Checks of what tags and rules name: events, properties, tags, caps."""

from collections.abc import Iterable
from typing import Final

from schemas.authoring import Condition
from schemas.plan import Plan, PlannedEvent
from schemas.policies import Policies
from schemas.tags import MadeTag, Tag
from streams.core.language.conditions import Ref, parse, parse_ref, refs
from streams.core.language.fault import Fault, Place, suggest
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
    ) -> None:
        self.plan = plan
        self._planned = {name: _names(event) for name, event in plan.events.items()}
        self._own: dict[str, set[str]] = {}
        for one in declares:
            for event, properties in one.items():
                self._own.setdefault(event, set()).update(properties)
        self.tags, self.policies = {tag.id: tag for tag in tags}, policies

    def tag(self, tag: Tag, place: Place) -> None:
        """Check a tag; raises ``Fault``."""
        if isinstance(tag, MadeTag):
            self._expr(tag, place)
            return
        self.match(tag.event, tag.where, place)
        path = getattr(tag, "value", None)
        if path is not None:
            self.path(path, tag.event, (*place, "value"))
        for event in getattr(tag, "weights", {}):
            if event not in tag.event and "*" not in tag.event:
                hint = suggest(event, tag.event) or f"its events are {', '.join(tag.event)}"
                raise Fault((*place, "weights", event), f"{event} is no event of the tag", hint)
        if tag.ended_by is not None:
            self.match(tag.ended_by.event, tag.ended_by.where, (*place, "until"))

    def _expr(self, tag: MadeTag, place: Place) -> None:
        """Check an expr: what it reads is there, and in the end does not read it."""
        for ref in expr_refs(tag, place):
            self.ref(ref, [])
            if tag.id in self._reads(ref.path[0], set()):
                hint = "make it of tags that do not need it"
                raise Fault(ref.place, f"{tag.id} is made of itself, by {ref}", hint)

    def _reads(self, tag_id: str, seen: set[str]) -> set[str]:
        """Return a tag and all that it is made of."""
        seen.add(tag_id)
        tag = self.tags.get(tag_id)
        if isinstance(tag, MadeTag):
            for ref in expr_refs(tag, ()):
                if ref.path[0] not in seen:
                    self._reads(ref.path[0], seen)
        return seen

    def match(self, events: list[str], where: Condition, place: Place) -> None:
        """Check names of events, and a condition on them; raises ``Fault``."""
        for event in events:
            if event == "*" or event in self._planned or event in self._own:
                continue
            near = suggest(event, [*self._planned, *self._own])
            if near:
                raise Fault((*place, "event"), f"unknown event {event}", f"{near} {_OWN}")
        self.condition(where, events, (*place, "where"), tags=False)

    def condition(self, raw: Condition, events: list[str], place: Place, *, tags: bool) -> None:
        """Check the paths of a condition on events of these names; raises ``Fault``."""
        for ref in refs(parse(raw, place, tags=tags)):
            self.ref(ref, events)

    def path(self, text: str, events: list[str], place: Place) -> None:
        """Check a path into events of these names; raises ``Fault``."""
        self.ref(parse_ref(text, place, tags=False), events)

    def ref(self, ref: Ref, events: list[str]) -> None:
        """Check a parsed path; raises ``Fault``."""
        if ref.root == "tag" and ref.path[0] not in self.tags:
            hint = suggest(ref.path[0], self.tags) or "define it under tags"
            raise Fault(ref.place, f"unknown tag {ref.path[0]}", hint)
        if ref.root == "tag" and len(ref.path) > 1:
            self._part(self.tags[ref.path[0]], ref)
        if ref.root != "properties":
            return
        known = [self._properties(event) for event in events]
        if any(one is None or ref.path[0] in one for one in known):
            return
        names = sorted({name for one in known if one for name in one})
        hint = suggest(ref.path[0], names) or f"it has {', '.join(names)}"
        problem = f"{', '.join(events)} has no property {ref.path[0]}"
        raise Fault(ref.place, problem, f"{hint}; {_OWN}")

    def _part(self, tag: Tag, ref: Ref) -> None:
        """Check a path into a tag's value: only some kinds have parts."""
        spec = spec_of(tag)
        known = spec.each_part is not None or ref.path[1] in spec.parts
        if len(ref.path) == _PART_DEPTH and known:
            return
        hint = f"it has {', '.join(spec.parts)}" if spec.parts else f"write tag.{tag.id}"
        raise Fault(ref.place, f"{tag.id} ({tag.kind}) has no part {'.'.join(ref.path[1:])}", hint)

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
