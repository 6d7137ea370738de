"""All rules of a rulebook at work: what events bring them, and what time does.

Triggers stand in the order in which they are asked: first what keeps facts of the user, then
goals, then rules by priority, then by their place in the rulebook. What is due
at one time is decided in the same order; exclusive groups are free again at each due.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from schemas.conditions import parse_ref
from schemas.rules import Rule
from schemas.tags import BACKFILLED, TOUCH_FAILED
from schemas.touches import Decision, TagChange
from schemas.triggers import Date
from streams.core.ids import make_id
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
from streams.core.rules.evaluation import Context, Effects, no_event, timely
from streams.core.rules.goals import Goals
from streams.core.rules.journeys import Flow, OnExit
from streams.core.rules.reachability import openings
from streams.core.rules.rule import LiveRule, TagReader
from streams.core.rules.scheduled import OnDate, OnInactive, OnZone, Scheduled
from streams.core.rules.steps import conditions, walk
from streams.core.rules.stored_event import to_event
from streams.core.rules.triggers import (
    OnCount,
    OnEvent,
    OnSequence,
    OnTag,
    TagMoved,
    TagTrigger,
    Trigger,
)
from streams.core.state.user import Run, State, Timer

ANY: Final = "*"
Named = tuple[str, Trigger]


class RuleSet:
    """The rules; ``triggers`` are what they do with events, by name, in order."""

    def __init__(self, rulebook: Rulebook, read: TagReader, settle_ms: int) -> None:
        self._book, self._read, self._settle_ms = rulebook, read, settle_ms
        self._waits: dict[str, Waits] = {}
        self._flows: dict[str, Flow] = {}
        self._scheduled: dict[str, Scheduled] = {}
        self._of_tag: dict[str, list[TagTrigger]] = {}
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

    def with_moved_tags(
        self, context: Context, triggers: list[Trigger], changes: Sequence[TagChange]
    ) -> list[Trigger]:
        """Return the event's triggers with the rules of the tags it moved; fire those of time."""
        moved: list[Trigger] = []
        by_time: list[TagChange] = []
        event = context.event
        for change in changes:
            waiting = self._of_tag.get(change.tag)
            if waiting is None:
                continue
            if not change.message_id:
                by_time.append(change)
            elif event.event != BACKFILLED:
                moved += [
                    TagMoved(trigger, change) for trigger in waiting if trigger.matches(change)
                ]
        if by_time:
            now_ms = event.received_at_ms
            self.on_changes(context.state, event.user, by_time, now_ms, context.effects)
        return sorted([*triggers, *moved], key=_order) if moved else triggers

    def wait_for_tags(self) -> bool:
        """Say whether a rule waits for tags to move."""
        return bool(self._of_tag)

    def on_changes(
        self, state: State, user: str, changes: Sequence[TagChange], now_ms: int, effects: Effects
    ) -> None:
        """Take changes of tags that no event brought, in the order of their times."""
        matching = [
            (change, trigger)
            for change in changes
            for trigger in self._of_tag.get(change.tag, ())
            if trigger.matches(change)
        ]
        matching.sort(key=lambda pair: (pair[0].time_ms, -pair[1].priority))
        step = _step(state, user, now_ms, effects)
        at_ms = -1
        for change, trigger in matching:
            if change.time_ms != at_ms:
                step.claims.clear()
                at_ms = change.time_ms
            context = step.of_timer(no_event(user, "tag", at_ms), at_ms)
            trigger.on_change(context, change, timely(at_ms, at_ms, now_ms))

    def fire(self, state: State, user: str, now_ms: int, effects: Effects) -> None:
        """Decide on all that is due: waits, runs and dates, in the order of their due."""
        step = _step(state, user, now_ms, effects)
        at_ms = -1
        while (due := self._due(state, now_ms)) is not None:
            due_ms, what = due
            if due_ms != at_ms:
                step.claims.clear()
                at_ms = due_ms
            if isinstance(what, Timer):
                state.timers = [timer for timer in state.timers if timer is not what]
                # A rule that the rulebook no longer has takes its waits along.
                if waits := self._waits.get(what.rule):
                    waits.fire(step.of_timer(to_event(what.cause, user), due_ms), what)
            elif isinstance(what, Run):
                state.runs = [run for run in state.runs if run is not what]
                if flow := self._flows.get(what.rule):
                    flow.wake(step.of_timer(to_event(what.cause, user), due_ms), what)
                else:
                    effects.decisions.append(_gone(what, user))
            else:
                del state.scheduled[what]
                if scheduled := self._scheduled.get(what):
                    scheduled.fire(step.of_timer(no_event(user, scheduled.name, due_ms), due_ms))

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
        for due_ms in state.scheduled.values():
            if first_ms is None or due_ms + self._settle_ms < first_ms:
                first_ms = due_ms + self._settle_ms
        return first_ms

    def _due(self, state: State, now_ms: int) -> tuple[int, Timer | Run | str] | None:
        """Return the first of what is ready: by due, then as rules are ranked."""
        ready: list[tuple[tuple[int, int, int, str, str], Timer | Run | str]] = []
        for timer in state.timers:
            if timer.fire_at_ms <= now_ms:
                rank = self._priority(timer.rule)
                ready.append(((timer.due_ms, rank, timer.start_ms, timer.rule, timer.key), timer))
        for run in state.runs:
            if run.fire_at_ms <= now_ms:
                rank = self._priority(run.rule)
                ready.append(((run.due_ms, rank, run.cause.time_ms, run.rule, run.trigger), run))
        for rule, due_ms in state.scheduled.items():
            if due_ms + self._settle_ms <= now_ms:
                ready.append(((due_ms, self._priority(rule), 0, rule, ""), rule))
        if not ready:
            return None
        order, what = min(ready, key=lambda candidate: candidate[0])
        return order[0], what

    def _priority(self, rule: str) -> int:
        flow = self._flows.get(rule)
        return -flow.rule.priority if flow else 0

    def _of(self, rule: Rule) -> Iterator[Named]:
        """Yield what a rule does with events; draft and paused ones end what they began."""
        flow = self._flows[rule.id] = self._flow(rule)
        trigger = rule.trigger
        if trigger.absence is not None:
            join = getters(trigger.absence.none.join)
            keeps = _kept_parts(rule)
            self._waits[rule.id] = Waits(flow, trigger.absence, join, keeps, self._settle_ms)
        elif trigger.inactive is not None:
            where = trigger.inactive.where.node
            self._scheduled[rule.id] = OnInactive(flow, trigger.inactive, where, self._settle_ms)
        elif trigger.date is not None:
            self._scheduled[rule.id] = self._date(flow, trigger.date)
        if rule.status in ("draft", "paused"):
            self._scheduled.pop(rule.id, None)
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
            waits = self._waits[rule.id]
            parts = [(waits.after, absence.after), (waits.none, absence.none)]
            parts += [(waits.exit, match) for match in rule.exit]
            for take, match in parts:
                part = OnPart(take, match.where.node, flow.rule.priority)
                yield from _named(match.event, part)
        else:
            yield from self._timed(rule, flow)

    def _timed(self, rule: Rule, flow: Flow) -> Iterator[Named]:
        """Yield what sets the dues of a rule; note which tags it waits for."""
        scheduled = self._scheduled.get(rule.id)
        if isinstance(scheduled, OnInactive) and rule.trigger.inactive is not None:
            yield from _named(rule.trigger.inactive.event, scheduled)
        elif isinstance(scheduled, OnDate) and rule.trigger.date is not None:
            root, *path = (rule.trigger.date.birthday or "").split(".")
            if root == "tag":
                self._of_tag.setdefault(path[0], []).append(scheduled)
            else:
                yield ANY, scheduled
        elif (move := rule.trigger.tag) is not None:
            enters = move.leaves is None
            on_tag = OnTag(flow, tag_predicate(move.condition.node), enters=enters)
            self._of_tag.setdefault(move.id.split(".")[0], []).append(on_tag)

    def _exits(self, rule: Rule) -> Iterator[Named]:
        for match in rule.exit:
            yield from _named(match.event, OnExit(self._flows[rule.id], match.where.node))

    def _watch_zone(self) -> None:
        """Keep the zone of users if a rule goes by it."""
        policies = self._book.policies
        dates = [rule for rule in self._scheduled.values() if isinstance(rule, OnDate)]
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


def _step(state: State, user: str, now_ms: int, effects: Effects) -> Context:
    """Return the context of a step that no event begins."""
    event = no_event(user, "", now_ms)
    return Context(state, event, now_ms, now_ms, effects, late=False, claims=set())


def _named(names: Iterable[str], trigger: Trigger) -> list[Named]:
    return [(name, trigger) for name in dict.fromkeys(names)]


def _order(trigger: Trigger) -> int:
    return -trigger.priority


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
