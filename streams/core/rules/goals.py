"""Goals (转化): conversions of a rule, counted for touched users and for the holdout alike.

A watch opens when the holdout is drawn for a user, whatever the draw; it outlives the journey
and ends ``within`` after the decision. One event converts a rule once: the newest watch that
was opened before it counts, and all that were opened before it end. A goal that arrives before
the event that opens its watch does not count, in either group.
"""

from typing import Final

from schemas.events import Event
from schemas.rules import Goal, Rule
from schemas.touches import Decision
from streams.core.ids import make_id
from streams.core.language.compile import NUMBERS, Getter, Predicate
from streams.core.rules.evaluation import GOALS_NEXT, Context, Evaluation
from streams.core.state.user import LATE_MS, State, Watch

# Of one rule; a user who enters more often within the time keeps the newest.
MAX_WATCHES: Final = 8


class Goals:
    """The goal of one rule, in any user's state; a trigger of the goal's events."""

    priority = GOALS_NEXT
    # Asked here: most users have no goal open, and that is seen sooner.
    where = None

    def __init__(
        self, rule: Rule, version: str, goal: Goal, where: Predicate | None, value: Getter | None
    ) -> None:
        self._id, self._version, self._within_ms = rule.id, version, goal.within_ms
        self._where, self._value = where, value

    def open(self, evaluation: Evaluation, *, in_holdout: bool) -> None:
        """Open a watch, in the holdout as outside of it."""
        state, at_ms = evaluation.context.state, evaluation.context.at_ms
        watches = [watch for watch in state.goals if watch.end_ms + LATE_MS >= state.latest_ms]
        own = [watch for watch in watches if watch.rule == self._id]
        if len(own) >= MAX_WATCHES:
            watches.remove(own[0])
        watch = Watch(
            rule=self._id,
            version=self._version,
            trigger=evaluation.trigger,
            start_ms=at_ms,
            end_ms=at_ms + self._within_ms,
            variant=evaluation.variant,
            in_holdout=in_holdout,
        )
        state.goals = [*watches, watch]

    def __call__(self, context: Context) -> None:
        """Take an event: record a conversion if it is the goal of an open watch."""
        state, event, at_ms = context.state, context.event, context.at_ms
        if not state.goals or (self._where is not None and not self._where(event)):
            return
        begun = [
            watch for watch in state.goals if watch.rule == self._id and watch.start_ms <= at_ms
        ]
        going_on = [
            watch for watch in begun if at_ms <= watch.end_ms and watch.trigger != event.message_id
        ]
        if not going_on:
            return
        state.goals = [watch for watch in state.goals if watch not in begun]
        context.effects.decisions.append(self._converted(going_on[-1], event, at_ms))

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
            reason="holdout" if watch.in_holdout else "treated",
            time_ms=at_ms,
            trigger_kind="goal",
            trigger=event.message_id,
            touch_id=watch.touch_id,
            variant=watch.variant,
            value=value if type(value) in NUMBERS else None,  # type: ignore[arg-type]  # a number
        )


def credit(state: State, rule: str, trigger: str, touch_id: str) -> None:
    """Note a touch in the watches of its trigger: a conversion names the last one."""
    for watch in state.goals:
        if watch.rule == rule and watch.trigger == trigger:
            watch.touch_id = touch_id
