"""Checks of what tags and rules name: events, properties, tags, caps."""

from collections.abc import Iterable
from typing import Final

from schemas.authoring import Condition, Match
from schemas.plan import Plan, PlannedEvent
from schemas.policies import Policies
from schemas.rules import Rule
from schemas.tags import ChannelTag, ChurnRiskTag, ExprTag, FlagTag, PerKeyTag, RfmTag, Tag
from streams.core.conditions import Fault, Ref, parse, parse_ref, refs, suggest
from streams.core.exprs import expr_refs
from streams.core.yaml_places import Place

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
        self._planned = {name: _names(event) for name, event in plan.events.items()}
        self._own: dict[str, set[str]] = {}
        for one in declares:
            for event, properties in one.items():
                self._own.setdefault(event, set()).update(properties)
        self._tags, self._policies = {tag.id: tag for tag in tags}, policies

    def tag(self, tag: Tag, place: Place) -> None:
        """Check a tag; raises ``Fault``."""
        if isinstance(tag, ExprTag):
            self._expr(tag, place)
            return
        self._match(tag.event, tag.where, place)
        path = getattr(tag, "value", None)
        if path is not None:
            self._path(path, tag.event, (*place, "value"))
        for event in getattr(tag, "weights", {}):
            if event not in tag.event and "*" not in tag.event:
                hint = suggest(event, tag.event) or f"its events are {', '.join(tag.event)}"
                raise Fault((*place, "weights", event), f"{event} is no event of the tag", hint)
        if isinstance(tag, FlagTag) and tag.until is not None:
            self._match(tag.until.event, tag.until.where, (*place, "until"))

    def rule(self, rule: Rule, place: Place) -> None:
        """Check a rule; raises ``Fault``."""
        events = self._trigger(rule, (*place, "trigger"))
        self._condition(rule.audience, events, (*place, "audience"), tags=True)
        cap = rule.guard.cap
        if cap is not None and cap not in self._policies.caps:
            hint = suggest(cap, self._policies.caps) or "define it under policies.caps"
            raise Fault((*place, "guard", "cap"), f"unknown cap {cap}", hint)
        if rule.exit and rule.trigger.absence is None:
            raise Fault((*place, "exit"), "exit ends a wait, and only an absence waits")
        for i, match in enumerate(rule.exit):
            self._match(match.event, match.where, (*place, "exit", i))
        variants = [variant.id for variant in rule.variants]
        if len(variants) != len(set(variants)):
            raise Fault((*place, "variants"), "two variants have the same id")

    def _expr(self, tag: ExprTag, place: Place) -> None:
        """Check an expr: what it reads is there, and in the end does not read it."""
        for ref in expr_refs(tag, place):
            self._ref(ref, [])
            if tag.id in self._reads(ref.path[0], set()):
                hint = "make it of tags that do not need it"
                raise Fault(ref.place, f"{tag.id} is made of itself, by {ref}", hint)

    def _reads(self, tag_id: str, seen: set[str]) -> set[str]:
        """Return a tag and all that it is made of."""
        seen.add(tag_id)
        tag = self._tags.get(tag_id)
        if isinstance(tag, ExprTag):
            for ref in expr_refs(tag, ()):
                if ref.path[0] not in seen:
                    self._reads(ref.path[0], seen)
        return seen

    def _trigger(self, rule: Rule, place: Place) -> list[str]:
        trigger = rule.trigger
        if trigger.absence is not None:
            absence, place = trigger.absence, (*place, "absence")
            self._of(absence.after, (*place, "after"))
            self._of(absence.none, (*place, "none"))
            for i, path in enumerate(absence.none.join):
                for match in (absence.after, absence.none):
                    self._path(path, match.event, (*place, "none", "join", i))
            return absence.after.event
        if trigger.count is not None:
            self._of(trigger.count, (*place, "count"))
            if trigger.count.by is not None:
                self._path(trigger.count.by, trigger.count.event, (*place, "count", "by"))
            return trigger.count.event
        events = trigger.event or []
        self._match(events, trigger.where, place)
        return events

    def _of(self, match: Match, place: Place) -> None:
        self._match(match.event, match.where, place)

    def _match(self, events: list[str], where: Condition, place: Place) -> None:
        for event in events:
            if event == "*" or event in self._planned or event in self._own:
                continue
            near = suggest(event, [*self._planned, *self._own])
            if near:
                raise Fault((*place, "event"), f"unknown event {event}", f"{near} {_OWN}")
        self._condition(where, events, (*place, "where"), tags=False)

    def _condition(self, raw: Condition, events: list[str], place: Place, *, tags: bool) -> None:
        for ref in refs(parse(raw, place, tags=tags)):
            self._ref(ref, events)

    def _path(self, text: str, events: list[str], place: Place) -> None:
        self._ref(parse_ref(text, place, tags=False), events)

    def _ref(self, ref: Ref, events: list[str]) -> None:
        if ref.root == "tag" and ref.path[0] not in self._tags:
            hint = suggest(ref.path[0], self._tags) or "define it under tags"
            raise Fault(ref.place, f"unknown tag {ref.path[0]}", hint)
        if ref.root == "tag" and len(ref.path) > 1:
            self._part(self._tags[ref.path[0]], ref)
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
        parts: tuple[str, ...] | None = ()
        if isinstance(tag, RfmTag):
            parts = ("r", "f", "m", "segment")
        elif isinstance(tag, ChannelTag):
            parts = ("first", "last")
        elif isinstance(tag, ChurnRiskTag):
            parts = ("level", "risk")
        elif isinstance(tag, PerKeyTag):
            parts = None
        if len(ref.path) == _PART_DEPTH and (parts is None or ref.path[1] in parts):
            return
        hint = f"it has {', '.join(parts)}" if parts else f"write tag.{tag.id}"
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
