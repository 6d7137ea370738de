"""Goals (转化): what a rule is for, watched in who was touched and in who was held out alike.

A watch opens when a user comes to the holdout's draw and passes it, or is held out by it;
it outlives the run and ends at ``within`` after the decision. One event converts a rule
once: the watch that was opened last before it is told, all that were open before it end.
A goal that arrives before the event that opens its watch is not seen: in both groups alike.
"""

from typing import Final

from schemas.events import Event
from schemas.rules import Goal, Rule
from schemas.touches import Decision
from streams.core.ids import make_id
from streams.core.language.compile import NUMBERS, Getter, Predicate
from streams.core.rules.evaluation import Effects, Hearing
from streams.core.state.user import LATE_MS, State, Watch

# Of one rule; a user who enters more often within the time keeps the newest.
MAX_WATCHES: Final = 8


class Goals:
    """The goal of one rule, in any user's state; a trigger of the goal's events."""

    priority = 10_000
    # Asked here: most users have no goal open, and that is seen sooner.
    where = None

    def __init__(
        self, rule: Rule, version: str, goal: Goal, where: Predicate | None, value: Getter | None
    ) -> None:
        self._id, self._version, self._within_ms = rule.id, version, goal.within_ms
        self._where, self._value = where, value

    def open(self, hearing: Hearing, *, held_out: bool) -> None:
        """Watch from now on, for who was held out as for who was not."""
        state, at_ms = hearing.state, hearing.at_ms
        kept = [one for one in state.goals if one.end_ms + LATE_MS >= state.latest_ms]
        own = [one for one in kept if one.rule == self._id]
        if len(own) >= MAX_WATCHES:
            kept.remove(own[0])
        end_ms = at_ms + self._within_ms
        kept.append(Watch(
            self._id, self._version, hearing.trigger, at_ms, end_ms, hearing.variant, held_out
        ))  # fmt: skip
        state.goals = kept

    def __call__(
        self, state: State, event: Event, at_ms: int, effects: Effects, *, late: bool
    ) -> None:
        """Take an event: if it is the goal, say whose."""
        del late
        if not state.goals or (self._where is not None and not self._where(event)):
            return
        before = [one for one in state.goals if one.rule == self._id and one.start_ms <= at_ms]
        open_ = [one for one in before if at_ms <= one.end_ms and one.trigger != event.message_id]
        if not open_:
            return
        state.goals = [one for one in state.goals if one not in before]
        effects.decisions.append(self._converted(open_[-1], event, at_ms))

    def _converted(self, watch: Watch, event: Event, at_ms: int) -> Decision:
        value = self._value(event) if self._value is not None else None
        return Decision(
            decision_id=make_id(
                "decision", watch.rule, watch.version, event.user, watch.trigger, "goal"
            ),
            rule=watch.rule,
            rule_version=watch.version,
            user=event.user,
            outcome="converted",
            reason="holdout" if watch.held_out else "treated",
            time_ms=at_ms,
            trigger_kind="goal",
            trigger=event.message_id,
            touch_id=watch.touch_id,
            variant=watch.variant,
            value=value if type(value) in NUMBERS else None,  # type: ignore[arg-type]  # a number
        )


def credit(state: State, rule: str, trigger: str, touch_id: str) -> None:
    """Let a conversion name the last touch that went out before it."""
    for watch in state.goals:
        if watch.rule == rule and watch.trigger == trigger:
            watch.touch_id = touch_id
