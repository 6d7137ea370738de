"""Rules at work: from a trigger that fired to its decisions.

The order is: redriven or a bot → too late → exit → audience → re-entry → holdout →
exclusive group → and of each send: refusal → channel window → consent → quiet hours → cap →
shadow → sent. The first that holds the touch back gives the reason. A user enters the rule
when it is sent, held, waits or is held out (or would, in shadow): that starts the cooldown.
Windows, quiet hours and caps go by the time at which the touch would go out, all else by the
decision's.
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
from streams.core.rules.evaluation import Effects, Hearing
from streams.core.rules.goals import Goals
from streams.core.state.recent_times import MAX_KEYS
from streams.core.state.user import State
from streams.core.tags.values import plain

__all__ = ["Effects", "Hearing", "LiveRule", "TagReader", "barred_by"]

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
    """One rule of the rulebook at work on states; ``flow`` takes over who is let in."""

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
        self.start: Callable[[Hearing, Effects], bool] = _nowhere
        self._audience, self._read, self._goals = audience, read, goals
        self._cooldown_ms = rule.reentry.cooldown_ms if rule.reentry else None
        self._by = [by] if by is not None else []
        self._holdout = round(rule.guard.holdout * _PERCENT)
        world = policies.holdout if rule.purpose == "marketing" else None
        self._world = (world.salt, round(world.percent * _PERCENT)) if world else ("", 0)
        group = policies.exclusive.get(rule.exclusive or "")
        self._apart_ms = group.per_ms if group else 0
        self._weights = sum(variant.weight for variant in rule.variants)

    def decide(
        self,
        state: State,
        event: Event,
        at_ms: int,
        trigger: str,
        effects: Effects,
        *,
        late: bool,
        clock_ms: int = 0,
    ) -> None:
        """Decide on a trigger that fired at a time; ``trigger`` tells it from all others."""
        clock_ms = max(at_ms, clock_ms or event.received_at_ms)
        hearing = Hearing(state, event, at_ms, clock_ms, trigger, self.version, late)
        if self._by:
            hearing.key = key_of(self._by, event) or ""
        verdict = self._admit(hearing, effects)
        if verdict is None:
            entered = self.start(hearing, effects)
        else:
            self.tell(hearing, effects, *verdict)
            entered = verdict[0] == "holdout"
        if entered:
            self._enter(hearing)

    def leave(
        self, state: State, event: Event, at_ms: int, trigger: str, effects: Effects,
        *, outcome: Outcome, reason: str,
    ) -> None:  # fmt: skip
        """Decide without a hearing: what the trigger began ended before its time."""
        hearing = Hearing(state, event, at_ms, at_ms, trigger, self.version, late=False)
        self.tell(hearing, effects, outcome, reason)

    def tell(
        self, hearing: Hearing, effects: Effects, outcome: Outcome, reason: str, *, step: str = ""
    ) -> Decision:
        """Write a decision down; the first of an entry has the id of its trigger alone."""
        event = hearing.event
        parts = ["decision", self.id, hearing.version, event.user, hearing.trigger]
        if hearing.begun or hearing.told:
            parts += [step, str(hearing.at_ms)]
        hearing.told += 1
        decision = Decision(
            decision_id=make_id(*parts),
            rule=self.id,
            rule_version=self.version,
            user=event.user,
            outcome=outcome,
            reason=reason,
            time_ms=hearing.at_ms,
            trigger_kind=self.kind,
            trigger=event.message_id,
            variant=hearing.variant,
            tags=hearing.tags,
            trace=hearing.trace,
        )
        effects.decisions.append(decision)
        # What is looked at next is the next decision's.
        hearing.tags, hearing.trace = {}, []
        return decision

    def audience_holds(self, hearing: Hearing) -> bool:
        """Ask the audience, and keep what it saw."""
        return self._audience is None or self.holds(self._audience, hearing)

    def holds(self, condition: Audience, hearing: Hearing) -> bool:
        """Ask a condition, and keep what it saw."""

        def note(index: int, left: object, right: object, ok: object) -> object:
            hearing.note(condition.texts[index], plain(left), ok=bool(ok))
            if " $" in condition.texts[index]:
                hearing.trace[-1]["to"] = plain(right)
            return ok

        return bool(condition.holds(hearing.event, self._reader(hearing), note))

    def _admit(self, hearing: Hearing, effects: Effects) -> Verdict | None:
        reason = barred_by(hearing.event) or ("late" if hearing.late else None)
        if reason is not None:
            return "suppressed", reason
        held = hearing.state.rules.get(self.id)
        if held is not None and held.exits and held.exits[-1] >= event_time_ms(hearing.event):
            return "exited", "exit"
        if not self.audience_holds(hearing):
            return "suppressed", "audience"
        if again := self._again(hearing):
            return "suppressed", again
        return self._draw(hearing, effects)

    def _again(self, hearing: Hearing) -> str | None:
        """Say why the user may not enter again, if so."""
        for run in hearing.state.runs:
            if run.rule == self.id and run.key == hearing.key:
                hearing.note("in the rule already", run.step, ok=False)
                return "running"
        held = hearing.state.rules.get(self.id)
        if self._cooldown_ms is None or held is None:
            return None
        entered_ms: Any = held.entered.get(hearing.key) if self._by else held.entered_ms
        if entered_ms is None:
            return None
        # An entry that is later than this decision holds it back as well.
        ok = hearing.at_ms >= entered_ms + self._cooldown_ms
        hearing.note(f"cooldown {self._cooldown_ms} ms", entered_ms, ok=ok)
        return None if ok else "cooldown"

    def group_of(self, user: str) -> str:
        """Return which holdout a user is in, as the decision's reason; nothing if in none."""
        salt, world = self._world
        if world and make_share("holdout", f"*{salt}", user) < world:
            return "holdout:global"
        held = self._holdout and make_share("holdout", self.id, user) < self._holdout
        return "holdout" if held else ""

    def variant_of(self, user: str) -> str:
        """Return the arm that a user is in for ever; nothing if the rule has none."""
        if not self.rule.variants:
            return ""
        share = make_share("variant", self.id, user) * self._weights
        for variant in self.rule.variants:
            share -= variant.weight * 10_000
            if share < 0:
                return variant.id
        return self.rule.variants[-1].id

    def _draw(self, hearing: Hearing, effects: Effects) -> Verdict | None:
        reason = self.group_of(hearing.event.user)
        hearing.variant = self.variant_of(hearing.event.user)
        if self._goals is not None and self.rule.status != "shadow":
            self._goals.open(hearing, held_out=bool(reason))
        if reason:
            return "holdout", reason
        if self.rule.exclusive is not None and not self._claim(hearing, effects):
            return "suppressed", "exclusive"
        return None

    def _claim(self, hearing: Hearing, effects: Effects) -> bool:
        """Take the exclusive group for this rule, if it is free."""
        group = str(self.rule.exclusive)
        heard = hearing.state.heard.get(group)
        by = heard[1] if heard and abs(hearing.at_ms - heard[0]) < self._apart_ms else None
        taken = group in effects.claims or by not in (None, self.id)
        hearing.note(f"exclusive {group}", by, ok=not taken)
        if taken:
            return False
        effects.claims.add(group)
        if self._apart_ms and (heard is None or heard[0] <= hearing.at_ms):
            hearing.state.heard[group] = (hearing.at_ms, self.id)
        return True

    def _enter(self, hearing: Hearing) -> None:
        if self._cooldown_ms is None:
            return
        held, at_ms = hearing.state.rule(self.id), hearing.at_ms
        if not self._by:
            held.entered_ms = at_ms
            return
        held.entered = {
            key: time_ms
            for key, time_ms in held.entered.items()
            if time_ms + self._cooldown_ms > hearing.state.latest_ms
        }
        held.entered[hearing.key] = at_ms
        while len(held.entered) > MAX_KEYS:
            del held.entered[min(held.entered, key=lambda one: (held.entered[one], one))]

    def _reader(self, hearing: Hearing) -> ReadTag:
        def read(tag: str) -> object:
            value = hearing.tags[tag] = self._read(hearing.state, tag, hearing.at_ms)
            return value

        return read


def _nowhere(hearing: Hearing, effects: Effects) -> bool:  # noqa: ARG001 - stands in until the flow is there
    return False
