"""Run all rules of a rulebook: on changes of tags, and on what is due.

What is due at one time is decided in the order of the rules' priorities; exclusive groups are
free again at each due.
"""

from collections.abc import Sequence

from schemas.tags import BACKFILLED
from schemas.touches import Decision, TagChange
from streams.core.ids import make_id
from streams.core.rulebook import Rulebook
from streams.core.rules.build import build_rules
from streams.core.rules.evaluation import Context, Effects, no_event, timely, timer_context
from streams.core.rules.rule import TagReader
from streams.core.rules.stored_event import to_event
from streams.core.rules.triggers import TagMoved, Trigger
from streams.core.state.user import Journey, State, Timer


class RuleSet:
    """The rules of a rulebook; ``triggers`` take events, by event name, in order."""

    def __init__(self, rulebook: Rulebook, read: TagReader, settle_ms: int) -> None:
        built = build_rules(rulebook, read, settle_ms)
        self.triggers, self._settle_ms = built.triggers, settle_ms
        self._flows, self._waits, self._scheduled = built.flows, built.waits, built.scheduled
        self._tag_triggers = built.tag_triggers

    def with_moved_tags(
        self, context: Context, triggers: list[Trigger], changes: Sequence[TagChange]
    ) -> list[Trigger]:
        """Return the event's triggers with the rules of the tags it moved; fire those of time."""
        moved: list[Trigger] = []
        by_time: list[TagChange] = []
        event = context.event
        for change in changes:
            waiting = self._tag_triggers.get(change.tag)
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
        return bool(self._tag_triggers)

    def on_changes(
        self, state: State, user: str, changes: Sequence[TagChange], now_ms: int, effects: Effects
    ) -> None:
        """Take changes of tags that no event brought, in the order of their times."""
        matching = [
            (change, trigger)
            for change in changes
            for trigger in self._tag_triggers.get(change.tag, ())
            if trigger.matches(change)
        ]
        matching.sort(key=lambda pair: (pair[0].time_ms, -pair[1].priority))
        claims, at_ms = set[str](), -1
        for change, trigger in matching:
            if change.time_ms != at_ms:
                claims.clear()
                at_ms = change.time_ms
            event = no_event(user, "tag", at_ms)
            context = timer_context(state, event, at_ms, now_ms, effects, claims=claims)
            trigger.on_change(context, change, timely(at_ms, at_ms, now_ms))

    def fire(self, state: State, user: str, now_ms: int, effects: Effects) -> None:
        """Decide on all that is due: waits, journeys and dates, in the order of their due."""
        claims, at_ms = set[str](), -1
        while (due := self._due(state, now_ms)) is not None:
            due_ms, what = due
            if due_ms != at_ms:
                claims.clear()
                at_ms = due_ms
            if isinstance(what, Timer):
                state.timers = [timer for timer in state.timers if timer is not what]
                # A rule that the rulebook no longer has takes its waits along.
                if waits := self._waits.get(what.rule):
                    event = to_event(what.cause, user)
                    waits.fire(
                        timer_context(state, event, due_ms, now_ms, effects, claims=claims), what
                    )
            elif isinstance(what, Journey):
                state.journeys = [journey for journey in state.journeys if journey is not what]
                if flow := self._flows.get(what.rule):
                    event = to_event(what.cause, user)
                    flow.wake(
                        timer_context(state, event, due_ms, now_ms, effects, claims=claims), what
                    )
                else:
                    effects.decisions.append(_gone(what, user))
            else:
                del state.scheduled[what]
                if scheduled := self._scheduled.get(what):
                    event = no_event(user, scheduled.name, due_ms)
                    scheduled.fire(
                        timer_context(state, event, due_ms, now_ms, effects, claims=claims)
                    )

    def next_ms(self, state: State) -> int | None:
        """Return when the next of what waits is to be fired, if anything does."""
        first_ms: int | None = None
        # Plain loops: this is asked before each event, mostly of a user for whom nothing waits.
        for timer in state.timers:
            if first_ms is None or timer.fire_at_ms < first_ms:
                first_ms = timer.fire_at_ms
        for journey in state.journeys:
            if first_ms is None or journey.fire_at_ms < first_ms:
                first_ms = journey.fire_at_ms
        for due_ms in state.scheduled.values():
            if first_ms is None or due_ms + self._settle_ms < first_ms:
                first_ms = due_ms + self._settle_ms
        return first_ms

    def _due(self, state: State, now_ms: int) -> tuple[int, Timer | Journey | str] | None:
        """Return the first of what is ready: by due, then as rules are ranked."""
        ready: list[tuple[tuple[int, int, int, str, str], Timer | Journey | str]] = []
        for timer in state.timers:
            if timer.fire_at_ms <= now_ms:
                rank = self._priority(timer.rule)
                ready.append(((timer.due_ms, rank, timer.start_ms, timer.rule, timer.key), timer))
        for journey in state.journeys:
            if journey.fire_at_ms <= now_ms:
                rank = self._priority(journey.rule)
                ready.append(
                    (
                        (
                            journey.due_ms,
                            rank,
                            journey.cause.time_ms,
                            journey.rule,
                            journey.trigger,
                        ),
                        journey,
                    )
                )
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


def _order(trigger: Trigger) -> int:
    return -trigger.priority


def _gone(journey: Journey, user: str) -> Decision:
    """Return the decision on a journey whose rule is in the rulebook no more."""
    return Decision(
        decision_id=make_id(
            "decision", journey.rule, journey.version, user, journey.trigger, "gone"
        ),
        rule=journey.rule,
        rule_version=journey.version,
        user=user,
        outcome="exited",
        reason="rule_gone",
        time_ms=journey.due_ms,
        trigger_kind="run",
        trigger=journey.cause.message_id,
        variant=journey.variant,
    )
