"""Checks of what tags and rules name: events, properties, tags, caps."""

from collections.abc import Iterable
from typing import Final

from schemas.authoring import Condition, Match
from schemas.plan import Plan, PlannedEvent
from schemas.rules import Policies, Rule
from schemas.tags import FirstTag, FlagTag, LastTag, SumTag, Tag
from streams.core.conditions import Fault, Ref, parse, parse_ref, refs, suggest
from streams.core.yaml_places import Place

_OWN: Final = "if it is your own, name it under declares"


class Names:
    """What a rulebook may name: planned and declared events and properties, tags, caps."""

    def __init__(
        self,
        declares: Iterable[dict[str, list[str]]],
        tags: set[str],
        policies: Policies,
        plan: Plan,
    ) -> None:
        self._planned = {name: _names(event) for name, event in plan.events.items()}
        self._own: dict[str, set[str]] = {}
        for one in declares:
            for event, properties in one.items():
                self._own.setdefault(event, set()).update(properties)
        self._tags, self._policies = tags, policies

    def tag(self, tag: Tag, place: Place) -> None:
        """Check a tag; raises ``Fault``."""
        self._match(tag.event, tag.where, place)
        if isinstance(tag, SumTag | FirstTag | LastTag):
            self._path(tag.value, tag.event, (*place, "value"))
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
        if ref.root != "properties":
            return
        known = [self._properties(event) for event in events]
        if any(one is None or ref.path[0] in one for one in known):
            return
        names = sorted({name for one in known if one for name in one})
        hint = suggest(ref.path[0], names) or f"it has {', '.join(names)}"
        problem = f"{', '.join(events)} has no property {ref.path[0]}"
        raise Fault(ref.place, problem, f"{hint}; {_OWN}")

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
