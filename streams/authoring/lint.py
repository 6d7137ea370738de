"""Lint of rules: names, types, windows that cannot be, and what channels forbid."""

from collections.abc import Collection, Iterator
from typing import Final

from schemas.authoring import Match, spell_duration
from schemas.channels import CHANNELS, needs_consent, window_ms
from schemas.conditions import Condition, Ref, leaves, parse_ref
from schemas.faults import Fault, Place, suggest
from schemas.rules import Rule, Send, Step
from schemas.triggers import Date, TagMove, Trigger
from streams.authoring.names import Names
from streams.authoring.value_types import check, of_property, of_tag
from streams.core.rules.steps import walk
from streams.core.tags.kind_spec import Holds

_DAY_MIN: Final = 24 * 60
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = _DAY_MIN * _MINUTE_MS
# The shortest time from a birthday to the next.
_YEAR_MS: Final = 365 * _DAY_MS


def check_rule(names: Names, rule: Rule) -> Iterator[Fault]:
    """Yield all that is wrong with a rule, with places from its own root."""
    lint = _Lint(names, rule)
    yield from lint.trigger()
    yield from lint.condition(rule.audience, ("audience",))
    yield from lint.guards()
    yield from lint.steps()
    yield from lint.ends()
    yield from lint.channels()


class _Lint:
    """One rule as it is checked; ``events`` are those that it can read when it decides."""

    def __init__(self, names: Names, rule: Rule) -> None:
        self._names, self._rule = names, rule
        self._events = _events(rule.trigger)

    def trigger(self) -> Iterator[Fault]:
        trigger, place = self._rule.trigger, ("trigger",)
        if trigger.event is not None:
            yield from self._match(trigger.event, trigger.where, place)
        elif (count := trigger.count) is not None:
            yield from self._of(count, (*place, "count"))
            if count.by is not None:
                yield from self._names.path(count.by, count.event, (*place, "count", "by"))
        elif (absence := trigger.absence) is not None:
            yield from self._of(absence.after, (*place, "absence", "after"))
            yield from self._of(absence.none, (*place, "absence", "none"))
            both = [absence.after, absence.none]
            yield from self._join(absence.none.join, both, (*place, "absence", "none"))
        elif (sequence := trigger.sequence) is not None:
            for i, step in enumerate(sequence.steps):
                yield from self._of(step, (*place, "sequence", "steps", i))
            yield from self._join(sequence.join, sequence.steps, (*place, "sequence"))
        elif (inactive := trigger.inactive) is not None:
            yield from self._match(inactive.event, inactive.where, (*place, "inactive"))
        elif trigger.tag is not None:
            yield from self._move(trigger.tag, (*place, "tag"))
        elif trigger.date is not None:
            yield from self._date(trigger.date, (*place, "date"))

    def _move(self, move: TagMove, place: Place) -> Iterator[Fault]:
        # The condition is made of the value that is written here.
        for fault in self.condition(move.condition, ()):
            yield Fault((*place, move.way), fault.problem, fault.hint)

    def condition(self, condition: Condition, place: Place) -> Iterator[Fault]:
        """Check what is asked when the rule decides: tags, and its event if it has one."""
        for leaf in leaves(condition.node):
            faults: list[Fault] = []
            for ref in (leaf.left, leaf.right):
                if isinstance(ref, Ref):
                    if ref.root != "tag" and not self._events:
                        faults.append(self._no_event(ref))
                    else:
                        faults += self._names.ref(ref, self._events)
            # Of what is not there no type is known.
            faults = faults or list(check(leaf, self._holds(leaf.left, self._events)))
            yield from (fault.within(place) for fault in faults)

    def guards(self) -> Iterator[Fault]:
        if "policies" not in self._names.unread:
            yield from self._policies_named()
        rule, quiet = self._rule, self._rule.guard.quiet
        if quiet is not None:
            here = ("guard", "quiet")
            if quiet.hit != "hold" and quiet.max_hold_ms is not None:
                yield Fault((*here, "max_hold"), f"max_hold is for hold, not for {quiet.hit}")
        if rule.reentry is not None:
            if rule.reentry.by is not None:
                yield from self._event_path(rule.reentry.by, ("reentry", "by"))
            if rule.trigger.date is not None and rule.reentry.cooldown_ms >= _YEAR_MS:
                problem = "the day of the next year falls into it"
                hint = "leave it out: a day fires once a year"
                yield Fault(("reentry", "cooldown"), problem, hint)
        ids = [variant.id for variant in rule.variants]
        if len(ids) != len(set(ids)):
            yield Fault(("variants",), "two variants have the same id")

    def _policies_named(self) -> Iterator[Fault]:
        rule, policies = self._rule, self._names.policies
        yield from _known(rule.guard.cap, policies.caps, ("guard", "cap"), "cap", "policies.caps")
        if rule.guard.quiet is not None:
            place, hours = ("guard", "quiet", "use"), policies.quiet
            yield from _known(rule.guard.quiet.use, hours, place, "quiet hours", "policies.quiet")
        if rule.exclusive and rule.exclusive not in policies.exclusive:
            near = suggest(rule.exclusive, policies.exclusive)
            if near:
                yield Fault(("exclusive",), f"unknown group {rule.exclusive}", near)

    def steps(self) -> Iterator[Fault]:
        ids: set[str] = set()
        for step_id, step, place in self._placed():
            if step_id in ids:
                yield Fault(place, f"two steps have the id {step_id}", "an id is one step's")
            ids.add(step_id)
            if step.branch is not None:
                yield from self.condition(step.branch.when, (*place, "branch", "if"))
                if not step.branch.then and not step.branch.otherwise:
                    yield Fault((*place, "branch"), "neither then nor else has a step")

    def ends(self) -> Iterator[Fault]:
        rule, quiet = self._rule, self._rule.guard.quiet
        waits = any(step.wait is not None for _, step in walk(rule.steps))
        holds = quiet is not None and quiet.hit == "hold"
        if rule.exit and rule.trigger.absence is None and not waits and not holds:
            hint = "it is for an absence, a wait step or a hold"
            yield Fault(("exit",), "exit: in this rule nothing waits", hint)
        for i, match in enumerate(rule.exit):
            yield from self._match(match.event, match.where, ("exit", i))
        if (goal := rule.goal) is not None:
            yield from self._of(goal, ("goal",))
            if goal.value is not None:
                yield from self._worth(goal.value, goal.event, ("goal", "value"))

    def _worth(self, value: str, events: list[str], place: Place) -> Iterator[Fault]:
        """Check what a conversion is worth: a number of the goal's event."""
        faults = list(self._names.path(value, events, place))
        yield from faults
        if faults:
            return
        holds = self._holds(parse_ref(value, place, tags=False), events)
        if holds is not None and holds.type != "number":
            yield Fault(place, f"{value} is {holds.type}, no number")

    def channels(self) -> Iterator[Fault]:
        """Check each send against what its channels allow."""
        waited_ms = 0
        for _, step, place in self._placed():
            if step.wait is not None:
                waited_ms += step.wait.for_ms or 0
            if step.send is not None:
                yield from self._allowed(step.send, (*place, "send", "via"))
                yield from self._consented(step.send, (*place, "send"))
                yield from self._in_window(step.send, waited_ms, (*place, "send", "via"))

    def _allowed(self, send: Send, place: Place) -> Iterator[Fault]:
        for i, channel in enumerate(send.via):
            facts = CHANNELS.get(channel)
            near = suggest(channel, CHANNELS)
            if facts is None and near:
                yield Fault((*place, i), f"unknown channel {channel}", near)
            if facts is not None and not facts.marketing and self._rule.purpose == "marketing":
                hint = "take another channel, or say purpose: service if it is no advertising"
                yield Fault((*place, i), f"marketing is forbidden on {channel}", hint)

    def _consented(self, send: Send, place: Place) -> Iterator[Fault]:
        """Require the platform's id of a template on a channel that needs consents to it."""
        templates = self._names.policies.templates
        if "policies" in self._names.unread:
            return
        for i, channel in enumerate(send.via):
            if not needs_consent(channel) or channel in templates.get(send.template, {}):
                continue
            problem = f"template {send.template} has no id on {channel}"
            hint = f'add policies.templates: {{{send.template}: {{{channel}: "WECHAT\'S ID"}}}}'
            named = [template for template, ids in templates.items() if channel in ids]
            yield Fault((*place, "via", i), problem, suggest(send.template, named) or hint)

    def _in_window(self, send: Send, waited_ms: int, place: Place) -> Iterator[Fault]:
        """Refuse a send that comes when each of its channels is closed."""
        windows = [window_ms(channel, self._events) for channel in send.via]
        limits = [limit_ms for limit_ms in windows if limit_ms is not None]
        if len(limits) < len(windows):
            return
        open_ms = max(limits)
        if self._rule.trigger.absence is not None:
            waited_ms += self._rule.trigger.absence.within_ms
        named = ", ".join(send.via)
        hold_ms = self._longest_hold_ms()
        if waited_ms >= open_ms:
            hint = "add a channel that stays open, like mini.subscribe"
            yield Fault(place, f"{named} is closed {spell_duration(open_ms)} after the event", hint)
        elif hold_ms >= open_ms:
            opening, longest = spell_duration(open_ms), spell_duration(hold_ms)
            hint = f"write max_hold below {opening}, hit: send, or add a channel"
            problem = f"quiet hours may hold it {longest}, {named} is open {opening}"
            yield Fault(("guard", "quiet"), problem, hint)

    def _longest_hold_ms(self) -> int:
        quiet = self._rule.guard.quiet
        hours = self._names.policies.quiet.get(quiet.use) if quiet else None
        if quiet is None or hours is None or quiet.hit != "hold":
            return 0
        longest_ms = (hours.to_min - hours.from_min) % _DAY_MIN * _MINUTE_MS
        return min(longest_ms, quiet.max_hold_ms or longest_ms)

    def _date(self, spec: Date, place: Place) -> Iterator[Fault]:
        if spec.birthday is None:
            return
        here = (*place, "birthday")
        try:
            ref = parse_ref(spec.birthday, here, tags=True)
        except Fault as fault:
            yield fault
            return
        if ref.root == "tag":
            yield from self._names.ref(ref, [])
        elif ref.root not in ("traits", "properties"):
            yield Fault(here, f"{ref} holds no birthday", "like traits.birthday or tag.birthday")

    def _join(self, paths: list[str], matches: list[Match], place: Place) -> Iterator[Fault]:
        for i, path in enumerate(paths):
            for match in matches:
                yield from self._names.path(path, match.event, (*place, "join", i))

    def _event_path(self, path: str, place: Place) -> Iterator[Fault]:
        if self._events:
            yield from self._names.path(path, self._events, place)
            return
        try:
            yield self._no_event(parse_ref(path, place, tags=False))
        except Fault as fault:
            yield fault

    def _no_event(self, ref: Ref) -> Fault:
        hint = "it can read tags: keep what it needs in one"
        problem = f"{ref}: a rule that {self._rule.trigger.kind} fires has no event to read"
        return Fault(ref.place, problem, hint)

    def _of(self, match: Match, place: Place) -> Iterator[Fault]:
        yield from self._match(match.event, match.where, place)

    def _match(self, events: list[str], where: Condition, place: Place) -> Iterator[Fault]:
        yield from self._names.match(events, where, place)
        for leaf in leaves(where.node):
            for fault in check(leaf, self._holds(leaf.left, events)):
                yield fault.within((*place, "where"))

    def _holds(self, ref: Ref, events: list[str]) -> Holds | None:
        if ref.root == "tag":
            tag = self._names.tags.get(ref.path[0])
            return of_tag(tag, ".".join(ref.path[1:])) if tag else None
        if ref.root == "properties" and len(ref.path) == 1:
            return of_property(self._names.plan, events, ref.path[0])
        return None

    def _placed(self) -> Iterator[tuple[str, Step, Place]]:
        """Yield all steps with their ids and places."""
        steps = self._rule.steps
        for (step_id, step), (_, place) in zip(walk(steps), placed_steps(steps), strict=True):
            yield step_id, step, place


def placed_steps(steps: list[Step], place: Place = ("steps",)) -> Iterator[tuple[Step, Place]]:
    """Yield all steps of a rule, as they are written, with their places in it."""
    for i, step in enumerate(steps):
        yield step, (*place, i)
        if step.branch is not None:
            yield from placed_steps(step.branch.then, (*place, i, "branch", "then"))
            yield from placed_steps(step.branch.otherwise, (*place, i, "branch", "else"))


def _events(trigger: Trigger) -> list[str]:
    if trigger.sequence is not None:
        return list(dict.fromkeys(name for step in trigger.sequence.steps for name in step.event))
    if trigger.absence is not None:
        return trigger.absence.after.event
    return trigger.count.event if trigger.count is not None else trigger.event or []


def _known(
    name: str | None, defined: Collection[str], place: Place, what: str, where: str
) -> Iterator[Fault]:
    if name is not None and name not in defined:
        hint = suggest(name, defined) or f"define it under {where}"
        yield Fault(place, f"unknown {what} {name}", hint)
