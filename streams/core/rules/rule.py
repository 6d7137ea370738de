"""One rule: from a trigger that fired to its decisions.

The order of checks is: redriven or a bot → too late → exit → audience → re-entry → holdout →
exclusive group → and of each send: refusal → channel window → consent → quiet hours → cap →
shadow → sent. The first that bars the touch gives the reason. A user enters the rule when a touch
is sent or put on hold (in shadow: would be), when a journey waits, and in the holdout: that starts
the cooldown. Windows, quiet hours and caps go by the time at which the touch would go out, all
else by the decision's.
"""

from collections.abc import Callable
from typing import Any, Final

from schemas.events import Event
from schemas.policies import Policies
from schemas.rules import Rule
from schemas.touches import Decision, Outcome
from streams.core.event_time import event_time_ms
from streams.core.ids import make_id, make_share
from streams.core.language.compile import Audience, Getter, ReadTag
from streams.core.language.join_keys import key_of
from streams.core.rules.evaluation import Context, Evaluation
from streams.core.rules.goals import Goals
from streams.core.state.recent_times import MAX_KEYS
from streams.core.state.user import State
from streams.core.tags.values import plain

# Reads a tag of a state at a time.
TagReader = Callable[[State, str, int], object]
Verdict = tuple[Outcome, str]
_PERCENT: Final = 100


def barred_by(event: Event) -> str | None:
    """Return the mark of an event that must not lead to a touch, as the decision's reason."""
    if event.marks:
        # Nobody wants to be reminded of what was mended weeks later; a crawler has no wishes.
        return next((mark for mark in event.marks if mark in ("redriven", "bot")), None)
    return None


class LiveRule:
    """One rule on users' states: whom it admits, and the decisions that it records."""

    def __init__(
        self,
        rule: Rule,
        version: str,
        audience: Audience | None,
        policies: Policies,
        read: TagReader,
        *,
        goals: Goals | None = None,
        by: Getter | None = None,
    ) -> None:
        self.rule, self.id, self.version = rule, rule.id, version
        self.priority, self.kind = rule.priority, rule.trigger.kind
        self._audience, self._read, self._goals = audience, read, goals
        self._cooldown_ms = rule.reentry.cooldown_ms if rule.reentry else None
        self._by = [by] if by is not None else []
        self._holdout = round(rule.guard.holdout * _PERCENT)
        world = policies.holdout if rule.purpose == "marketing" else None
        self._world = (world.salt, round(world.percent * _PERCENT)) if world else ("", 0)
        group = policies.exclusive.get(rule.exclusive or "")
        self._apart_ms = group.per_ms if group else 0
        self._weights = sum(variant.weight for variant in rule.variants)

    def evaluation(self, context: Context, trigger: str, clock_ms: int) -> Evaluation:
        """Return a new evaluation; ``trigger`` identifies what fired."""
        evaluation = Evaluation(context, clock_ms, trigger, self.version)
        if self._by:
            evaluation.key = key_of(self._by, context.event) or ""
        return evaluation

    def admit(self, evaluation: Evaluation) -> Verdict | None:
        """Return why the user is not admitted to the rule, ``None`` if admitted."""
        context = evaluation.context
        reason = barred_by(context.event) or ("late" if context.late else None)
        if reason is not None:
            return "suppressed", reason
        memory = context.state.rules.get(self.id)
        if memory is not None and memory.exits and memory.exits[-1] >= event_time_ms(context.event):
            return "exited", "exit"
        if not self.audience_holds(evaluation):
            return "suppressed", "audience"
        if again := self._again(evaluation):
            return "suppressed", again
        return self._draw(evaluation)

    def enter(self, evaluation: Evaluation) -> None:
        """Remember that the user entered: the cooldown runs from here."""
        if self._cooldown_ms is None:
            return
        state, at_ms = evaluation.context.state, evaluation.context.at_ms
        memory = state.rule(self.id)
        if not self._by:
            memory.entered_ms = at_ms
            return
        memory.entered = {
            key: time_ms
            for key, time_ms in memory.entered.items()
            if time_ms + self._cooldown_ms > state.latest_ms
        }
        memory.entered[evaluation.key] = at_ms
        while len(memory.entered) > MAX_KEYS:
            del memory.entered[min(memory.entered, key=lambda key: (memory.entered[key], key))]

    def record(
        self, evaluation: Evaluation, outcome: Outcome, reason: str, *, step: str = ""
    ) -> Decision:
        """Record a decision; the first of an entry has the id of its trigger alone."""
        context = evaluation.context
        event = context.event
        parts = ["decision", self.id, evaluation.version, event.user, evaluation.trigger]
        if evaluation.begun or evaluation.decided:
            parts += [step, str(context.at_ms)]
        evaluation.decided += 1
        decision = Decision(
            decision_id=make_id(*parts),
            rule=self.id,
            rule_version=self.version,
            user=event.user,
            outcome=outcome,
            reason=reason,
            time_ms=context.at_ms,
            trigger_kind=self.kind,
            trigger=event.message_id,
            variant=evaluation.variant,
            tags=evaluation.tags,
            trace=evaluation.trace,
        )
        context.effects.decisions.append(decision)
        # What is looked at next is the next decision's.
        evaluation.tags, evaluation.trace = {}, []
        return decision

    def audience_holds(self, evaluation: Evaluation) -> bool:
        """Evaluate the audience; record what it read."""
        return self._audience is None or self.holds(self._audience, evaluation)

    def holds(self, condition: Audience, evaluation: Evaluation) -> bool:
        """Evaluate a condition; record what it read."""

        def note(index: int, left: object, right: object, ok: object) -> object:
            evaluation.note(condition.texts[index], plain(left), ok=bool(ok))
            if " $" in condition.texts[index]:
                evaluation.trace[-1]["to"] = plain(right)
            return ok

        return bool(condition.holds(evaluation.context.event, self._reader(evaluation), note))

    def holdout_of(self, user: str) -> str:
        """Return which holdout a user is in, as the decision's reason; empty if in none."""
        salt, world = self._world
        if world and make_share("holdout", f"*{salt}", user) < world:
            return "holdout:global"
        own = self._holdout and make_share("holdout", self.id, user) < self._holdout
        return "holdout" if own else ""

    def variant_of(self, user: str) -> str:
        """Return a user's variant, always the same one; empty if the rule has none."""
        if not self.rule.variants:
            return ""
        share = make_share("variant", self.id, user) * self._weights
        for variant in self.rule.variants:
            share -= variant.weight * 10_000
            if share < 0:
                return variant.id
        return self.rule.variants[-1].id

    def _again(self, evaluation: Evaluation) -> str | None:
        """Say why the user may not enter again, if so."""
        state, at_ms = evaluation.context.state, evaluation.context.at_ms
        for journey in state.journeys:
            if journey.rule == self.id and journey.key == evaluation.key:
                evaluation.note("in the rule already", journey.step, ok=False)
                return "running"
        memory = state.rules.get(self.id)
        if self._cooldown_ms is None or memory is None:
            return None
        entered_ms: Any = memory.entered.get(evaluation.key) if self._by else memory.entered_ms
        if entered_ms is None:
            return None
        # An entry that is later than this decision bars it as well.
        ok = at_ms >= entered_ms + self._cooldown_ms
        evaluation.note(f"cooldown {self._cooldown_ms} ms", entered_ms, ok=ok)
        return None if ok else "cooldown"

    def _draw(self, evaluation: Evaluation) -> Verdict | None:
        user = evaluation.context.event.user
        reason = self.holdout_of(user)
        evaluation.variant = self.variant_of(user)
        if self._goals is not None and self.rule.status != "shadow":
            self._goals.open(evaluation, in_holdout=bool(reason))
        if reason:
            return "holdout", reason
        if self.rule.exclusive is not None and not self._claim(evaluation):
            return "suppressed", "exclusive"
        return None

    def _claim(self, evaluation: Evaluation) -> bool:
        """Take the exclusive group for this rule, if it is free."""
        context, group = evaluation.context, str(self.rule.exclusive)
        state, at_ms = context.state, context.at_ms
        chosen = state.exclusive.get(group)
        by = chosen[1] if chosen and abs(at_ms - chosen[0]) < self._apart_ms else None
        taken = group in context.claims or by not in (None, self.id)
        evaluation.note(f"exclusive {group}", by, ok=not taken)
        if taken:
            return False
        context.claims.add(group)
        if self._apart_ms and (chosen is None or chosen[0] <= at_ms):
            state.exclusive[group] = (at_ms, self.id)
        return True

    def _reader(self, evaluation: Evaluation) -> ReadTag:
        state, at_ms = evaluation.context.state, evaluation.context.at_ms

        def read(tag: str) -> object:
            value = evaluation.tags[tag] = self._read(state, tag, at_ms)
            return value

        return read
