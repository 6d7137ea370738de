"""Build what runs the rules of a rulebook: their flows, waits, dues and triggers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from schemas.conditions import parse_ref
from schemas.rules import Rule
from schemas.tags import TOUCH_FAILED
from schemas.triggers import Date
from streams.core.language.compile import (
    Getter,
    audience,
    getter,
    predicate,
    tag_predicate,
)
from streams.core.rulebook import Rulebook
from streams.core.rules.absence import OnPart, Waits
from streams.core.rules.caps import OnRefund
from streams.core.rules.consents import consent_triggers
from streams.core.rules.goals import Goals
from streams.core.rules.journeys import Flow, OnExit
from streams.core.rules.reachability import openings
from streams.core.rules.rule import LiveRule, TagReader
from streams.core.rules.scheduled import OnDate, OnInactive, OnZone, Scheduled
from streams.core.rules.steps import conditions, walk
from streams.core.rules.triggers import (
    ANY,
    OnCount,
    OnEvent,
    OnSequence,
    OnTag,
    TagTrigger,
    Trigger,
)

Named = tuple[str, Trigger]


@dataclass(slots=True)
class BuiltRules:
    """All rules, ready to run: ``triggers`` by event name, ``tag_triggers`` by tag, else by rule.

    Triggers run in their order: first what keeps facts of the user, then goals, then rules by
    priority, then by their place in the rulebook.
    """

    flows: dict[str, Flow] = field(default_factory=dict)
    waits: dict[str, Waits] = field(default_factory=dict)
    scheduled: dict[str, Scheduled] = field(default_factory=dict)
    tag_triggers: dict[str, list[TagTrigger]] = field(default_factory=dict)
    triggers: list[Named] = field(default_factory=list)


def build_rules(rulebook: Rulebook, read: TagReader, settle_ms: int) -> BuiltRules:
    """Return the rules of a rulebook, ready to run; ``read`` reads a tag of a state at a time."""
    return _Builder(rulebook, read, settle_ms).build()


class _Builder:
    """Builds rule by rule; ``_first`` gathers the triggers that run before those of all rules."""

    def __init__(self, rulebook: Rulebook, read: TagReader, settle_ms: int) -> None:
        self._book, self._read, self._settle_ms = rulebook, read, settle_ms
        self._built = BuiltRules()
        self._first: list[Named] = []

    def build(self) -> BuiltRules:
        rulebook = self._book
        ranked = sorted(rulebook.rules, key=lambda rule: -rule.priority)
        triggers = [named for rule in ranked for named in self._rule(rule)]
        self._watch_zone()
        sends = [step.send for rule in ranked for _, step in walk(rule.steps) if step.send]
        self._first += openings(channel for send in sends for channel in send.via)
        # Also where no rule asks yet: what users allowed is there for the first that does.
        self._first += consent_triggers(rulebook.policies.templates)
        if any(rule.guard.cap for rule in ranked):
            self._first.append((TOUCH_FAILED, OnRefund()))
        self._built.triggers.extend([*self._first, *triggers])
        return self._built

    def _rule(self, rule: Rule) -> Iterator[Named]:
        """Yield a rule's triggers by event; a draft or paused one only ends what it began."""
        flow = self._built.flows[rule.id] = self._flow(rule)
        trigger = rule.trigger
        if trigger.absence is not None:
            join = getters(trigger.absence.none.join)
            keeps = _kept_parts(rule)
            self._built.waits[rule.id] = Waits(flow, trigger.absence, join, keeps, self._settle_ms)
        elif trigger.inactive is not None:
            where = trigger.inactive.where.node
            self._built.scheduled[rule.id] = OnInactive(
                flow, trigger.inactive, where, self._settle_ms
            )
        elif trigger.date is not None:
            self._built.scheduled[rule.id] = self._date(flow, trigger.date)
        if rule.status in ("draft", "paused"):
            self._built.scheduled.pop(rule.id, None)
            return
        yield from self._triggers_of(rule, flow)
        yield from self._exits(rule)

    def _flow(self, rule: Rule) -> Flow:
        version, policies = self._book.versions[rule.id], self._book.policies
        goal = rule.goal
        goals = None
        if goal is not None:
            value = getters([goal.value])[0] if goal.value else None
            goals = Goals(rule, version, goal, predicate(goal.where.node), value)
            if rule.status not in ("draft", "shadow"):
                self._first += _named(goal.event, goals)
        by = getters([rule.reentry.by])[0] if rule.reentry and rule.reentry.by else None
        asked = audience(rule.audience.node)
        live = LiveRule(rule, version, asked, policies, self._read, goals=goals, by=by)
        return Flow(live, policies, _kept_parts(rule), self._settle_ms)

    def _date(self, flow: Flow, spec: Date) -> OnDate:
        path = spec.birthday or ""
        of_event = getters([path])[0] if path and not path.startswith("tag.") else None
        return OnDate(flow, spec, of_event, self._book.policies.tz, self._settle_ms)

    def _triggers_of(self, rule: Rule, flow: Flow) -> Iterator[Named]:
        trigger = rule.trigger
        if trigger.event is not None:
            yield from _named(trigger.event, OnEvent(flow, trigger.where.node))
        elif (count := trigger.count) is not None:
            by = getters([count.by] if count.by else [])
            on_count = OnCount(flow, count.where.node, by, count.n, count.within_ms)
            yield from _named(count.event, on_count)
        elif (sequence := trigger.sequence) is not None:
            steps = [(step.event, predicate(step.where.node)) for step in sequence.steps]
            on_sequence = OnSequence(flow, steps, getters(sequence.join), sequence.within_ms)
            names = [name for step in sequence.steps for name in step.event]
            yield from _named(names, on_sequence)
        elif (absence := trigger.absence) is not None:
            waits = self._built.waits[rule.id]
            parts = [(waits.after, absence.after), (waits.none, absence.none)]
            parts += [(waits.exit, match) for match in rule.exit]
            for take, match in parts:
                part = OnPart(take, match.where.node, flow.rule.priority)
                yield from _named(match.event, part)
        else:
            yield from self._timed(rule, flow)

    def _timed(self, rule: Rule, flow: Flow) -> Iterator[Named]:
        """Yield what sets the dues of a rule; note which tags it waits for."""
        scheduled = self._built.scheduled.get(rule.id)
        if isinstance(scheduled, OnInactive) and rule.trigger.inactive is not None:
            yield from _named(rule.trigger.inactive.event, scheduled)
        elif isinstance(scheduled, OnDate) and rule.trigger.date is not None:
            root, *path = (rule.trigger.date.birthday or "").split(".")
            if root == "tag":
                self._built.tag_triggers.setdefault(path[0], []).append(scheduled)
            else:
                yield ANY, scheduled
        elif (move := rule.trigger.tag) is not None:
            enters = move.leaves is None
            on_tag = OnTag(flow, tag_predicate(move.condition.node), enters=enters)
            self._built.tag_triggers.setdefault(move.id.split(".")[0], []).append(on_tag)

    def _exits(self, rule: Rule) -> Iterator[Named]:
        for match in rule.exit:
            yield from _named(match.event, OnExit(self._built.flows[rule.id], match.where.node))

    def _watch_zone(self) -> None:
        """Keep the zone of users if a rule goes by it."""
        policies = self._book.policies
        dates = [rule for rule in self._built.scheduled.values() if isinstance(rule, OnDate)]
        steps = [step for rule in self._book.rules for _, step in walk(rule.steps)]
        limits = [limit for cap in policies.caps.values() for limit in cap]
        asked = (
            bool(dates)
            or any(limit.per == "local_day" for limit in limits)
            or any(hours.tz == "user" for hours in policies.quiet.values())
            or any(step.wait is not None and step.wait.until_min is not None for step in steps)
        )
        if asked:
            path = getters([policies.zone_from])[0]
            self._first.insert(0, (ANY, OnZone(path, dates)))


def getters(paths: Iterable[str]) -> list[Getter]:
    """Return the functions that read paths of an event."""
    return [getter(parse_ref(path, (), tags=False)) for path in paths]


def _kept_parts(rule: Rule) -> frozenset[str]:
    """Return the parts of an event that a rule reads after it has waited."""
    asked = [rule.audience, *conditions(rule)]
    return frozenset(ref.root for condition in asked for ref in condition.refs())


def _named(names: Iterable[str], trigger: Trigger) -> list[Named]:
    return [(name, trigger) for name in dict.fromkeys(names)]
