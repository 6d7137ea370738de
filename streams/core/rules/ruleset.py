"""All rules of a rulebook at work: what each hears of, and what time brings them.

Triggers stand in the order in which they are asked: what keeps the user's zone and what
tells goals first, then rules by priority, then by their place in the rulebook. What is due
at one time is decided in the same order; exclusive groups are free again at each due.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from schemas.conditions import parse_ref
from schemas.events import Event
from schemas.rules import Rule
from schemas.tags import BACKFILLED, TOUCH_FAILED
from schemas.touches import Decision, TagChange
from schemas.triggers import Date, TagMove
from streams.core.ids import make_id
from streams.core.language.compile import (
    Getter,
    TagPredicate,
    audience,
    getter,
    predicate,
    tag_predicate,
)
from streams.core.rulebook import Rulebook
from streams.core.rules.absence import OnPart, Waits
from streams.core.rules.caps import OnRefund
from streams.core.rules.consents import consent_triggers
from streams.core.rules.evaluation import Effects, no_event, timely
from streams.core.rules.goals import Goals
from streams.core.rules.journeys import Flow, OnExit
from streams.core.rules.reachability import openings
from streams.core.rules.rule import LiveRule, TagReader
from streams.core.rules.scheduled import Alarm, OnDate, OnInactive, OnZone
from streams.core.rules.steps import conditions, walk
from streams.core.rules.triggers import Hearer, Moved, OnCount, OnEvent, OnSequence, OnTag, Trigger
from streams.core.state.user import LATE_MS, Run, State, Timer

ANY: Final = "*"
Named = tuple[str, Trigger]


class RuleSet:
    """The rules; ``triggers`` are what they do with events, by name, in order."""

    def __init__(self, rulebook: Rulebook, read: TagReader, settle_ms: int) -> None:
        self._book, self._read, self._settle_ms = rulebook, read, settle_ms
        self._waits: dict[str, Waits] = {}
        self._flows: dict[str, Flow] = {}
        self._alarms: dict[str, Alarm] = {}
        self._moves: dict[str, list[Hearer]] = {}
        self._first: list[Named] = []
        ranked = sorted(rulebook.rules, key=lambda rule: -rule.priority)
        triggers = [named for rule in ranked for named in self._of(rule)]
        self._watch_zone()
        sends = [step.send for rule in ranked for _, step in walk(rule.steps) if step.send]
        self._first += openings(channel for send in sends for channel in send.via)
        # Also where no rule asks yet: what users allowed is there for the first that does.
        self._first += consent_triggers(rulebook.policies.templates)
        if any(rule.guard.cap for rule in ranked):
            self._first.append((TOUCH_FAILED, OnRefund()))
        self.triggers: list[Named] = [*self._first, *triggers]

    def moved_by(
        self,
        state: State,
        event: Event,
        triggers: list[Trigger],
        effects: Effects,
    ) -> list[Trigger]:
        """Return the event's triggers with the rules of the tags it moved; fire those of time."""
        moved: list[Trigger] = []
        in_time: list[TagChange] = []
        for change in effects.tag_changes:
            heard = self._moves.get(change.tag)
            if heard is None:
                continue
            if not change.message_id:
                in_time.append(change)
            elif event.event != BACKFILLED:
                moved += [Moved(one, change) for one in heard if one.hears(change)]
        if in_time:
            self.changed(state, event.user, in_time, event.received_at_ms, effects)
            effects.claims.clear()
        return sorted([*triggers, *moved], key=_order) if moved else triggers

    def hears_tags(self) -> bool:
        """Say whether a rule waits for tags to move."""
        return bool(self._moves)

    def changed(
        self, state: State, user: str, changes: Sequence[TagChange], now_ms: int, effects: Effects
    ) -> None:
        """Take changes of tags that no event brought, in the order of their times."""
        found = [
            (change, one)
            for change in changes
            for one in self._moves.get(change.tag, ())
            if one.hears(change)
        ]
        at_ms = -1
        for change, one in sorted(found, key=lambda pair: (pair[0].time_ms, _rank(pair[1]))):
            if change.time_ms != at_ms:
                effects.claims.clear()
                at_ms = change.time_ms
            one.moved(
                state, change, no_event(user, "tag", at_ms), effects,
                late=now_ms - at_ms > LATE_MS, clock_ms=timely(at_ms, at_ms, now_ms),
            )  # fmt: skip

    def fire(self, state: State, user: str, now_ms: int, effects: Effects) -> None:
        """Decide on all that is due: waits, runs and alarms, in the order of their due."""
        at_ms = -1
        while (due := self._due(state, now_ms)) is not None:
            due_ms, what = due
            if due_ms != at_ms:
                effects.claims.clear()
                at_ms = due_ms
            if isinstance(what, Timer):
                state.timers = [one for one in state.timers if one is not what]
                # A rule that the rulebook no longer has takes its waits along.
                if waits := self._waits.get(what.rule):
                    waits.fire(state, what, user, now_ms, effects)
            elif isinstance(what, Run):
                state.runs = [one for one in state.runs if one is not what]
                if flow := self._flows.get(what.rule):
                    flow.wake(state, what, user, now_ms, effects)
                else:
                    effects.decisions.append(_gone(what, user))
            else:
                del state.alarms[what]
                if alarm := self._alarms.get(what):
                    alarm.fire(state, due_ms, user, now_ms, effects)

    def next_ms(self, state: State) -> int | None:
        """Return when the next of what waits is to be fired, if anything does."""
        first_ms: int | None = None
        # Plain loops: this is asked before each event, mostly of a user for whom nothing waits.
        for timer in state.timers:
            if first_ms is None or timer.fire_at_ms < first_ms:
                first_ms = timer.fire_at_ms
        for run in state.runs:
            if first_ms is None or run.fire_at_ms < first_ms:
                first_ms = run.fire_at_ms
        for due_ms in state.alarms.values():
            if first_ms is None or due_ms + self._settle_ms < first_ms:
                first_ms = due_ms + self._settle_ms
        return first_ms

    def _due(self, state: State, now_ms: int) -> tuple[int, Timer | Run | str] | None:
        """Return the first of what is ready: by due, then as rules are ranked."""
        ready: list[tuple[tuple[int, int, int, str, str], Timer | Run | str]] = [
            ((one.due_ms, self._priority(one.rule), one.start_ms, one.rule, one.key), one)
            for one in state.timers
            if one.fire_at_ms <= now_ms
        ]
        ready += [
            ((one.due_ms, self._priority(one.rule), one.cause.time_ms, one.rule, one.trigger), one)
            for one in state.runs
            if one.fire_at_ms <= now_ms
        ]
        ready += [
            ((due_ms, self._priority(rule), 0, rule, ""), rule)
            for rule, due_ms in state.alarms.items()
            if due_ms + self._settle_ms <= now_ms
        ]
        if not ready:
            return None
        order, what = min(ready, key=lambda one: one[0])
        return order[0], what

    def _priority(self, rule: str) -> int:
        flow = self._flows.get(rule)
        return -flow.rule.priority if flow else 0

    def _of(self, rule: Rule) -> Iterator[Named]:
        """Yield what a rule does with events; draft and paused ones end what they began."""
        live = self._live(rule)
        trigger = rule.trigger
        if trigger.absence is not None:
            join = getters(trigger.absence.none.join)
            self._waits[rule.id] = Waits(
                live, trigger.absence, join, self._keeps(rule), self._settle_ms
            )
        elif trigger.inactive is not None:
            where = trigger.inactive.where.node
            self._alarms[rule.id] = OnInactive(live, trigger.inactive, where, self._settle_ms)
        elif trigger.date is not None:
            self._alarms[rule.id] = self._date(live, trigger.date)
        if rule.status in ("draft", "paused"):
            self._alarms.pop(rule.id, None)
            return
        yield from self._heard(rule, live)
        yield from self._exits(rule)

    def _live(self, rule: Rule) -> LiveRule:
        version, policies = self._book.versions[rule.id], self._book.policies
        goal = rule.goal
        goals = None
        if goal is not None:
            value = getters([goal.value])[0] if goal.value else None
            goals = Goals(rule, version, goal, predicate(goal.where.node), value)
            if rule.status not in ("draft", "shadow"):
                self._first += _named(goal.event, goals)
        by = getters([rule.reentry.by])[0] if rule.reentry and rule.reentry.by else None
        live = LiveRule(
            rule, version, audience(rule.audience.node), policies, self._read, goals=goals, by=by
        )
        self._flows[rule.id] = Flow(live, policies, self._keeps(rule), self._settle_ms)
        return live

    def _keeps(self, rule: Rule) -> frozenset[str]:
        """Return the parts of an event that a rule reads after it has waited."""
        asked = [rule.audience, *conditions(rule)]
        return frozenset(ref.root for condition in asked for ref in condition.refs())

    def _date(self, live: LiveRule, spec: Date) -> OnDate:
        path = spec.birthday or ""
        of_event = getters([path])[0] if path and not path.startswith("tag.") else None
        return OnDate(live, spec, of_event, self._book.policies.tz, self._settle_ms)

    def _heard(self, rule: Rule, live: LiveRule) -> Iterator[Named]:
        trigger = rule.trigger
        if trigger.event is not None:
            yield from _named(trigger.event, OnEvent(live, trigger.where.node))
        elif (count := trigger.count) is not None:
            by = getters([count.by] if count.by else [])
            on_count = OnCount(live, count.where.node, by, count.n, count.within_ms)
            yield from _named(count.event, on_count)
        elif (sequence := trigger.sequence) is not None:
            steps = [(step.event, predicate(step.where.node)) for step in sequence.steps]
            one = OnSequence(live, steps, getters(sequence.join), sequence.within_ms)
            yield from _named([name for step in sequence.steps for name in step.event], one)
        elif (absence := trigger.absence) is not None:
            waits = self._waits[rule.id]
            parts = [(waits.after, absence.after), (waits.none, absence.none)]
            parts += [(waits.exit, match) for match in rule.exit]
            for take, match in parts:
                part = OnPart(take, match.where.node, live.priority)
                yield from _named(match.event, part)
        else:
            yield from self._timed(rule, live)

    def _timed(self, rule: Rule, live: LiveRule) -> Iterator[Named]:
        """Yield what sets the alarms of a rule; note which tags it waits for."""
        alarm = self._alarms.get(rule.id)
        if isinstance(alarm, OnInactive) and rule.trigger.inactive is not None:
            yield from _named(rule.trigger.inactive.event, alarm)
        elif isinstance(alarm, OnDate) and rule.trigger.date is not None:
            root, *path = (rule.trigger.date.birthday or "").split(".")
            if root == "tag":
                self._moves.setdefault(path[0], []).append(alarm)
            else:
                yield ANY, alarm
        elif (move := rule.trigger.tag) is not None:
            enters = move.leaves is None
            is_it = tag_condition(move)
            on_tag = OnTag(live, is_it, enters=enters)
            self._moves.setdefault(move.id.split(".")[0], []).append(on_tag)

    def _exits(self, rule: Rule) -> Iterator[Named]:
        for match in rule.exit:
            yield from _named(match.event, OnExit(self._flows[rule.id], match.where.node))

    def _watch_zone(self) -> None:
        """Keep the zone of users if a rule goes by it."""
        policies = self._book.policies
        dates = [one for one in self._alarms.values() if isinstance(one, OnDate)]
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


def tag_condition(move: TagMove) -> TagPredicate:
    """Return the function that tells whether a tag has the value that is waited for."""
    return tag_predicate(move.condition.node)


def _named(names: Iterable[str], trigger: Trigger) -> list[Named]:
    return [(name, trigger) for name in dict.fromkeys(names)]


def _order(trigger: Trigger) -> int:
    return -trigger.priority


def _rank(one: Hearer) -> int:
    return -one.priority


def _gone(run: Run, user: str) -> Decision:
    """Return the decision on a run whose rule is in the rulebook no more."""
    return Decision(
        decision_id=make_id("decision", run.rule, run.version, user, run.trigger, "gone"),
        rule=run.rule,
        rule_version=run.version,
        user=user,
        outcome="exited",
        reason="rule_gone",
        time_ms=run.due_ms,
        trigger_kind="run",
        trigger=run.cause.message_id,
        variant=run.variant,
    )
