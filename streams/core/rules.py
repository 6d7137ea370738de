"""Rules at work: from a trigger that fired to a decision, and to its touches.

The order is: redriven or a bot → too late → audience → cooldown → holdout → cap → shadow
→ sent. The first that holds the touch back gives the reason. A user enters the rule when
it is sent, held out or (in shadow) would be sent: that starts the cooldown. All times are
the decision's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from schemas.events import Event
from schemas.policies import Limit, Policies
from schemas.rules import Rule
from schemas.touches import Decision, Outcome, TagChange, Touch
from streams.core.compile import Audience, ReadTag
from streams.core.kinds import plain
from streams.core.state import (
    DAY_MS,
    State,
    limited,
    make_id,
    make_share,
)

# Reads a tag of a state at a time.
TagReader = Callable[[State, str, int], object]


@dataclass(slots=True)
class Effects:
    """What a step of the engine says, in order."""

    tag_changes: list[TagChange] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)


def barred_by(event: Event) -> str | None:
    """Return the mark of an event that must not lead to a touch, as the decision's reason."""
    if event.marks:
        # Nobody wants to be reminded of what was mended weeks later; a crawler has no wishes.
        return next((mark for mark in event.marks if mark in ("redriven", "bot")), None)
    return None


class Cap:
    """At most so many touches of a name per user, over sliding periods or calendar days."""

    def __init__(self, name: str, limits: list[Limit], zone: str) -> None:
        self.name, self._limits, self._zone = name, limits, ZoneInfo(zone)
        periods = [2 * DAY_MS if limit.per == "local_day" else limit.per for limit in limits]
        self._longest_ms = max(periods)

    def full(self, state: State, at_ms: int, more: int) -> bool:
        """Say whether so many more touches at a time would break a limit."""
        times = state.caps.get(self.name, [])
        return any(self._used(times, limit, at_ms) + more > limit.max for limit in self._limits)

    def reserve(self, state: State, at_ms: int, more: int) -> None:
        """Count touches that go out at a time."""
        times = state.caps.setdefault(self.name, [])
        for _ in range(more):
            times.append(at_ms)
        times.sort()
        while times[0] <= times[-1] - self._longest_ms - DAY_MS:
            del times[0]

    def _used(self, times: list[int], limit: Limit, at_ms: int) -> int:
        if limit.per == "local_day":
            today = self._day(at_ms)
            return sum(self._day(one) == today for one in times)
        # Later ones count too: an event that comes late must not make room for itself.
        return sum(one > at_ms - limit.per for one in times)

    def _day(self, at_ms: int) -> int:
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self._zone).toordinal()


@dataclass(slots=True)
class Hearing:
    """One evaluation: the event and time it is about, and what was looked at."""

    state: State
    event: Event
    at_ms: int
    trigger: str
    late: bool
    tags: dict[str, Any] = field(default_factory=dict)
    trace: list[dict[str, Any]] = field(default_factory=list)

    def note(self, condition: str, value: object, *, ok: bool) -> None:
        """Keep what a condition saw."""
        self.trace.append({"if": condition, "value": value, "ok": ok})


class LiveRule:
    """One rule of the rulebook at work on states."""

    def __init__(
        self,
        rule: Rule,
        version: str,
        audience: Audience | None,
        policies: Policies,
        read: TagReader,
    ) -> None:
        self.rule, self.id, self.version = rule, rule.id, version
        kinds = ("event", "count", "absence")
        self.kind = next(kind for kind in kinds if getattr(rule.trigger, kind) is not None)
        self._audience, self._read = audience, read
        self._cooldown_ms = rule.reentry.cooldown_ms if rule.reentry else None
        self._holdout = round(rule.guard.holdout * 100)
        name = rule.guard.cap
        self._cap = Cap(name, policies.caps[name], policies.tz) if name else None
        self._weights = sum(variant.weight for variant in rule.variants)

    def decide(
        self, state: State, event: Event, at_ms: int, trigger: str, effects: Effects, *, late: bool
    ) -> None:
        """Decide on a trigger that fired at a time; ``trigger`` tells it from all others."""
        hearing = Hearing(state, event, at_ms, trigger, late)
        outcome, reason = self._judge(hearing)
        variant = self._variant(event.user) if outcome in ("sent", "holdout") else ""
        decision = self._decision(hearing, outcome, reason)
        decision.variant = variant
        effects.decisions.append(decision)
        if outcome == "sent":
            touches = self._touches(hearing, variant)
            decision.touch_id = touches[0].touch_id
            effects.touches.extend(touches)

    def leave(
        self, state: State, event: Event, at_ms: int, trigger: str, effects: Effects,
        *, outcome: Outcome, reason: str,
    ) -> None:  # fmt: skip
        """Decide without a hearing: what the trigger began ended before its time."""
        hearing = Hearing(state, event, at_ms, trigger, late=False)
        effects.decisions.append(self._decision(hearing, outcome, reason))

    def _judge(self, hearing: Hearing) -> tuple[Outcome, str]:
        reason = self._objection(hearing)
        if reason is not None:
            return "suppressed", reason
        state, at_ms = hearing.state, hearing.at_ms
        if self._holdout and make_share("holdout", self.id, hearing.event.user) < self._holdout:
            self._enter(state, at_ms)
            return "holdout", "holdout"
        sends = len(self.rule.steps)
        if self._cap is not None:
            full = self._cap.full(state, at_ms, sends)
            hearing.note(f"cap {self._cap.name}", sends, ok=not full)
            if full:
                return "suppressed", f"cap:{self._cap.name}"
        self._enter(state, at_ms)
        if self.rule.status == "shadow":
            return "suppressed", "shadow"
        if self._cap is not None:
            self._cap.reserve(state, at_ms, sends)
        return "sent", "passed"

    def _enter(self, state: State, at_ms: int) -> None:
        if self._cooldown_ms is not None:
            state.rule(self.id).entered_ms = at_ms

    def _objection(self, hearing: Hearing) -> str | None:
        if barred := barred_by(hearing.event):
            return barred
        if hearing.late:
            return "late"
        if self._audience is not None and not self._hears(self._audience, hearing):
            return "audience"
        held = hearing.state.rules.get(self.id)
        if self._cooldown_ms is None or held is None or held.entered_ms is None:
            return None
        # An entry that is later than this decision holds it back as well.
        ok = hearing.at_ms >= held.entered_ms + self._cooldown_ms
        hearing.note(f"cooldown {self._cooldown_ms} ms", held.entered_ms, ok=ok)
        return None if ok else "cooldown"

    def _hears(self, audience: Audience, hearing: Hearing) -> bool:
        def note(index: int, left: object, right: object, ok: object) -> object:
            hearing.note(audience.texts[index], plain(left), ok=bool(ok))
            if " $" in audience.texts[index]:
                hearing.trace[-1]["to"] = plain(right)
            return ok

        return bool(audience.holds(hearing.event, self._reader(hearing), note))

    def _reader(self, hearing: Hearing) -> ReadTag:
        def read(tag: str) -> object:
            value = hearing.tags[tag] = self._read(hearing.state, tag, hearing.at_ms)
            return value

        return read

    def _variant(self, user: str) -> str:
        if not self.rule.variants:
            return ""
        share = make_share("variant", self.id, user) * self._weights
        for variant in self.rule.variants:
            share -= variant.weight * 10_000
            if share < 0:
                return variant.id
        return self.rule.variants[-1].id

    def _decision(self, hearing: Hearing, outcome: Outcome, reason: str) -> Decision:
        event = hearing.event
        return Decision(
            decision_id=make_id("decision", self.id, self.version, event.user, hearing.trigger),
            rule=self.id,
            rule_version=self.version,
            user=event.user,
            outcome=outcome,
            reason=reason,
            time_ms=hearing.at_ms,
            trigger_kind=self.kind,
            trigger=event.message_id,
            tags=hearing.tags,
            trace=hearing.trace,
        )

    def _touches(self, hearing: Hearing, variant: str) -> list[Touch]:
        """Return a touch per step; the later ones append -1, -2 and so on to the first id."""
        event = hearing.event
        touch_id = make_id("touch", self.id, self.version, event.user, hearing.trigger)
        identities = {**hearing.state.identities, **event.identities}
        return [
            Touch(
                touch_id=f"{touch_id}-{i}" if i else touch_id,
                rule=self.id,
                rule_version=self.version,
                user=event.user,
                via=step.send.via if step.send else [],
                template=step.send.template if step.send else "",
                time_ms=hearing.at_ms,
                variant=variant,
                identities=identities,
                properties=limited(event.properties),
            )
            for i, step in enumerate(self.rule.steps)
        ]
