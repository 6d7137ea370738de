"""Lint of rules: names, types, windows that cannot be, and what channels forbid."""

from collections.abc import Collection, Iterator
from typing import Final

from schemas.authoring import Condition, Match, spell_duration
from schemas.channels import CHANNELS, needs_consent, window_ms
from schemas.rules import Rule, Send, Step
from schemas.triggers import Date, Trigger
from streams.authoring.names import Names
from streams.authoring.value_types import Holds, check, of_property, of_tag
from streams.core.language.conditions import Ref, leaves, parse, parse_ref
from streams.core.language.fault import Fault, Place, suggest
from streams.core.rules.steps import walk

_DAY_MIN: Final = 24 * 60
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = _DAY_MIN * _MINUTE_MS
# The shortest time from a birthday to the next.
_YEAR_MS: Final = 365 * _DAY_MS


def check_rule(names: Names, rule: Rule, place: Place) -> None:
    """Check a rule; raises ``Fault`` for the first thing that is wrong."""
    lint = _Lint(names, rule, place)
    lint.trigger()
    lint.condition(rule.audience, (*place, "audience"))
    lint.guards()
    lint.steps()
    lint.ends()
    lint.channels()


class _Lint:
    """One rule as it is checked; ``events`` are those that it can read when it decides."""

    def __init__(self, names: Names, rule: Rule, place: Place) -> None:
        self._names, self._rule, self._place = names, rule, place
        self._events = _events(rule.trigger)

    def trigger(self) -> None:
        trigger, place = self._rule.trigger, (*self._place, "trigger")
        if trigger.event is not None:
            self._match(trigger.event, trigger.where, place)
        elif (count := trigger.count) is not None:
            self._of(count, (*place, "count"))
            if count.by is not None:
                self._names.path(count.by, count.event, (*place, "count", "by"))
        elif (absence := trigger.absence) is not None:
            self._of(absence.after, (*place, "absence", "after"))
            self._of(absence.none, (*place, "absence", "none"))
            self._join(
                absence.none.join, [absence.after, absence.none], (*place, "absence", "none")
            )
        elif (sequence := trigger.sequence) is not None:
            for i, step in enumerate(sequence.steps):
                self._of(step, (*place, "sequence", "steps", i))
            self._join(sequence.join, sequence.steps, (*place, "sequence"))
        elif (inactive := trigger.inactive) is not None:
            self._match(inactive.event, inactive.where, (*place, "inactive"))
        elif (move := trigger.tag) is not None:
            way = "enters" if move.leaves is None else "leaves"
            here = (*place, "tag", way)
            value = move.enters if way == "enters" else move.leaves
            self._typed({f"tag.{move.id}": value}, here, fixed=here)
        elif trigger.date is not None:
            self._date(trigger.date, (*place, "date"))

    def condition(self, raw: Condition, place: Place) -> None:
        """Check what is asked when the rule decides: tags, and its event if it has one."""
        self._typed(raw, place)

    def guards(self) -> None:
        rule, policies = self._rule, self._names.policies
        place = (*self._place, "guard")
        _known(rule.guard.cap, policies.caps, (*place, "cap"), "cap", "policies.caps")
        quiet = rule.guard.quiet
        if quiet is not None:
            here = (*place, "quiet")
            _known(quiet.use, policies.quiet, (*here, "use"), "quiet hours", "policies.quiet")
            if quiet.hit != "hold" and quiet.max_hold_ms is not None:
                raise Fault((*here, "max_hold"), f"max_hold is for hold, not for {quiet.hit}")
        if rule.exclusive and rule.exclusive not in policies.exclusive:
            near = suggest(rule.exclusive, policies.exclusive)
            if near:
                raise Fault((*self._place, "exclusive"), f"unknown group {rule.exclusive}", near)
        if rule.reentry is not None:
            here = (*self._place, "reentry")
            if rule.reentry.by is not None:
                self._event_path(rule.reentry.by, (*here, "by"))
            if rule.trigger.date is not None and rule.reentry.cooldown_ms >= _YEAR_MS:
                raise Fault((*here, "cooldown"), "the day of the next year falls into it",
                            "leave it out: a day fires once a year")  # fmt: skip
        ids = [variant.id for variant in rule.variants]
        if len(ids) != len(set(ids)):
            raise Fault((*self._place, "variants"), "two variants have the same id")

    def steps(self) -> None:
        ids: set[str] = set()
        for here, step, place in self._placed():
            if here in ids:
                raise Fault(place, f"two steps have the id {here}", "an id is one step's")
            ids.add(here)
            if step.branch is not None:
                self._typed(step.branch.when, (*place, "branch", "if"))
                if not step.branch.then and not step.branch.otherwise:
                    raise Fault((*place, "branch"), "neither then nor else has a step")

    def ends(self) -> None:
        rule, quiet = self._rule, self._rule.guard.quiet
        waits = any(step.wait is not None for _, step in walk(rule.steps))
        holds = quiet is not None and quiet.hit == "hold"
        if rule.exit and rule.trigger.absence is None and not waits and not holds:
            hint = "it is for an absence, a wait step or a hold"
            raise Fault((*self._place, "exit"), "exit: in this rule nothing waits", hint)
        for i, match in enumerate(rule.exit):
            self._match(match.event, match.where, (*self._place, "exit", i))
        if (goal := rule.goal) is not None:
            place = (*self._place, "goal")
            self._of(goal, place)
            if goal.value is not None:
                self._names.path(goal.value, goal.event, (*place, "value"))
                ref = parse_ref(goal.value, (*place, "value"), tags=False)
                held = self._holds(ref, goal.event)
                if held is not None and held.type != "number":
                    raise Fault((*place, "value"), f"{goal.value} is {held.type}, no number")

    def channels(self) -> None:
        """Check each send against what its channels allow."""
        waited_ms = 0
        for _, step, place in self._placed():
            if step.wait is not None:
                waited_ms += step.wait.for_ms or 0
            if step.send is not None:
                self._allowed(step.send, (*place, "send", "via"))
                self._consented(step.send, (*place, "send"))
                self._in_window(step.send, waited_ms, (*place, "send", "via"))

    def _allowed(self, send: Send, place: Place) -> None:
        for i, channel in enumerate(send.via):
            facts = CHANNELS.get(channel)
            near = suggest(channel, CHANNELS)
            if facts is None and near:
                raise Fault((*place, i), f"unknown channel {channel}", near)
            if facts is not None and not facts.marketing and self._rule.purpose == "marketing":
                hint = "take another channel, or say purpose: service if it is no advertising"
                raise Fault((*place, i), f"marketing is forbidden on {channel}", hint)

    def _consented(self, send: Send, place: Place) -> None:
        """Want the platform's id of a template where consents are given to it."""
        templates = self._names.policies.templates
        for i, channel in enumerate(send.via):
            if not needs_consent(channel) or channel in templates.get(send.template, {}):
                continue
            problem = f"template {send.template} has no id on {channel}"
            hint = f'add policies.templates: {{{send.template}: {{{channel}: "WECHAT\'S ID"}}}}'
            near = [one for one, ids in templates.items() if channel in ids]
            raise Fault((*place, "via", i), problem, suggest(send.template, near) or hint)

    def _in_window(self, send: Send, waited_ms: int, place: Place) -> None:
        """Refuse a send that comes when each of its channels is closed."""
        windows = [window_ms(channel, self._events) for channel in send.via]
        open_ms = None if None in windows else max(one for one in windows if one is not None)
        if open_ms is None:
            return
        if self._rule.trigger.absence is not None:
            waited_ms += self._rule.trigger.absence.within_ms
        named = ", ".join(send.via)
        if waited_ms >= open_ms:
            hint = "add a channel that stays open, like mini.subscribe"
            raise Fault(place, f"{named} is closed {spell_duration(open_ms)} after the event", hint)
        held_ms = self._longest_hold_ms()
        if held_ms >= open_ms:
            opening = spell_duration(open_ms)
            hint = f"write max_hold below {opening}, hit: send, or add a channel"
            problem = (
                f"quiet hours may hold it {spell_duration(held_ms)}, {named} is open {opening}"
            )
            raise Fault((*self._place, "guard", "quiet"), problem, hint)

    def _longest_hold_ms(self) -> int:
        quiet = self._rule.guard.quiet
        hours = self._names.policies.quiet.get(quiet.use) if quiet else None
        if quiet is None or hours is None or quiet.hit != "hold":
            return 0
        longest_ms = (hours.to_min - hours.from_min) % _DAY_MIN * _MINUTE_MS
        return min(longest_ms, quiet.max_hold_ms or longest_ms)

    def _date(self, spec: Date, place: Place) -> None:
        if spec.birthday is None:
            return
        here = (*place, "birthday")
        ref = parse_ref(spec.birthday, here, tags=True)
        if ref.root == "tag":
            self._names.ref(ref, [])
        elif ref.root not in ("traits", "properties"):
            raise Fault(here, f"{ref} holds no birthday", "like traits.birthday or tag.birthday")

    def _join(self, paths: list[str], matches: list[Match], place: Place) -> None:
        for i, path in enumerate(paths):
            for match in matches:
                self._names.path(path, match.event, (*place, "join", i))

    def _event_path(self, path: str, place: Place) -> None:
        if self._events:
            self._names.path(path, self._events, place)
        else:
            self._no_event(parse_ref(path, place, tags=False))

    def _no_event(self, ref: Ref) -> None:
        hint = "it can read tags: keep what it needs in one"
        problem = f"{ref}: a rule that {self._rule.trigger.kind} fires has no event to read"
        raise Fault(ref.place, problem, hint)

    def _of(self, match: Match, place: Place) -> None:
        self._match(match.event, match.where, place)

    def _match(self, events: list[str], where: Condition, place: Place) -> None:
        self._names.match(events, where, place)
        for leaf in leaves(parse(where, (*place, "where"), tags=False)):
            check(leaf, self._holds(leaf.left, events))

    def _typed(self, raw: Condition, place: Place, *, fixed: Place = ()) -> None:
        """Check a condition that may read tags; ``fixed`` is where it stands if it was made."""
        for leaf in leaves(parse(raw, place, tags=True)):
            try:
                for ref in (leaf.left, leaf.right):
                    if isinstance(ref, Ref):
                        if ref.root != "tag" and not self._events:
                            self._no_event(ref)
                        self._names.ref(ref, self._events)
                check(leaf, self._holds(leaf.left, self._events))
            except Fault as fault:
                raise Fault(fixed or fault.place, fault.problem, fault.hint) from fault

    def _holds(self, ref: Ref, events: list[str]) -> Holds | None:
        if ref.root == "tag":
            tag = self._names.tags.get(ref.path[0])
            return of_tag(tag, ".".join(ref.path[1:])) if tag else None
        if ref.root == "properties" and len(ref.path) == 1:
            return of_property(self._names.plan, events, ref.path[0])
        return None

    def _placed(self) -> Iterator[tuple[str, Step, Place]]:
        """Yield all steps with their ids and places."""
        places = list(_places(self._rule.steps, (*self._place, "steps")))
        for (here, step), place in zip(walk(self._rule.steps), places, strict=True):
            yield here, step, place


def _places(steps: list[Step], place: Place) -> Iterator[Place]:
    for i, step in enumerate(steps):
        yield (*place, i)
        if step.branch is not None:
            yield from _places(step.branch.then, (*place, i, "branch", "then"))
            yield from _places(step.branch.otherwise, (*place, i, "branch", "else"))


def _events(trigger: Trigger) -> list[str]:
    if trigger.sequence is not None:
        return list(dict.fromkeys(name for step in trigger.sequence.steps for name in step.event))
    if trigger.absence is not None:
        return trigger.absence.after.event
    return trigger.count.event if trigger.count is not None else trigger.event or []


def _known(name: str | None, defined: Collection[str], place: Place, what: str, where: str) -> None:
    if name is not None and name not in defined:
        hint = suggest(name, defined) or f"define it under {where}"
        raise Fault(place, f"unknown {what} {name}", hint)
