"""Journeys (旅程): a user's way through a rule's steps, parked in the state where it waits.

A journey goes on with the steps of the rulebook in force, from the step of its id: if that step
is gone, or is of another kind now, the journey ends. An exit ends it at once. A suppressed send
does not end it, unless the audience no longer holds when quiet hours end.
"""

from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

from schemas.conditions import Node
from schemas.policies import Policies
from schemas.rules import Send, Wait
from schemas.touches import Outcome, Touch
from streams.core.ids import make_id
from streams.core.rules.caps import Cap
from streams.core.rules.consents import ALL_CHANNELS, refused
from streams.core.rules.evaluation import Context, Evaluation, timely
from streams.core.rules.goals import credit
from streams.core.rules.quiet_hours import QuietWindow
from streams.core.rules.reachability import agreed, is_open, use
from streams.core.rules.rule import LiveRule
from streams.core.rules.steps import Fork, compiled
from streams.core.rules.stored_event import limited, to_cause, to_event
from streams.core.rules.zones import after_days, next_instant, zone_of, zone_or
from streams.core.state.user import DAY_MS, Journey

_ROOT_STEP: Final = "0"
_NO_IDS: Final[dict[str, str]] = {}


class Flow:
    """Leads users from one rule's trigger through its steps, on any user's state.

    ``keeps`` are the parts of an event that are read after a wait.
    """

    def __init__(
        self, rule: LiveRule, policies: Policies, keeps: frozenset[str], settle_ms: int
    ) -> None:
        self.rule, self._keeps, self._settle_ms = rule, keeps, settle_ms
        self._program, self._first = compiled(rule.rule.steps)
        self._zone, self._templates = ZoneInfo(policies.tz), policies.templates
        guard = rule.rule.guard
        self._cap = Cap(guard.cap, policies.caps[guard.cap], policies.tz) if guard.cap else None
        self._quiet = guard.quiet
        self._window = (
            QuietWindow(guard.quiet.use, policies.quiet[guard.quiet.use], policies.tz)
            if guard.quiet
            else None
        )

    def decide(self, context: Context, trigger: str, clock_ms: int = 0) -> None:
        """Decide on a trigger that fired; lead an admitted user through the first steps.

        ``trigger`` identifies it; ``clock_ms`` is when a touch would go out, by default the
        event's arrival.
        """
        clock_ms = max(context.at_ms, clock_ms or context.event.received_at_ms)
        evaluation = self.rule.evaluation(context, trigger, clock_ms)
        verdict = self.rule.admit(evaluation)
        if verdict is None:
            entered = self._go(evaluation, self._first)
        else:
            self.rule.record(evaluation, *verdict)
            entered = verdict[0] == "holdout"
        if entered:
            self.rule.enter(evaluation)

    def give_up(self, context: Context, trigger: str, outcome: Outcome, reason: str) -> None:
        """Record how that which a trigger began ended before its time."""
        evaluation = Evaluation(context, context.at_ms, trigger, self.rule.version)
        self.rule.record(evaluation, outcome, reason)

    def wake(self, context: Context, journey: Journey) -> None:
        """Go on with a journey that is due; the caller has taken it out of the state."""
        evaluation = self._resumed(context, journey)
        evaluation.clock_ms = timely(journey.due_ms, journey.fire_at_ms, context.now_ms)
        record = self.rule.record
        status = self.rule.rule.status
        placed = self._program.get(journey.step)
        if status in ("draft", "paused"):
            record(evaluation, "exited", status, step=journey.step)
        elif placed is None or not isinstance(placed.what, Send if journey.on_hold else Wait):
            record(evaluation, "exited", "step_gone", step=journey.step)
        elif not journey.on_hold:
            self._go(evaluation, placed.after)
        elif self._quiet and self._quiet.recheck and not self.rule.audience_holds(evaluation):
            record(evaluation, "suppressed", "audience", step=journey.step)
        else:
            self._go(evaluation, journey.step)

    def leave(self, context: Context, journey: Journey) -> None:
        """Record that an exit ended a journey at the context's time."""
        self.rule.record(self._resumed(context, journey), "exited", "exit", step="exit")

    def _resumed(self, context: Context, journey: Journey) -> Evaluation:
        return Evaluation(
            context,
            context.at_ms,
            journey.trigger,
            journey.version,
            begun=True,
            variant=journey.variant,
            key=journey.key,
        )

    def _go(self, evaluation: Evaluation, step: str | None) -> bool:
        """Run steps until one waits or none remains; say whether a touch went out or still may."""
        entered = False
        while step is not None:
            placed = self._program[step]
            if isinstance(placed.what, Send):
                outcome = self._send(evaluation, placed.what, step)
                if outcome == "held":
                    return True
                entered = entered or outcome == "sent"
            elif isinstance(placed.what, Wait):
                self._park(evaluation, step, self._until(evaluation, placed.what))
                if not evaluation.begun and not evaluation.decided:
                    self.rule.record(evaluation, "held", "wait", step=step)
                return True
            else:
                step = self._side(evaluation, placed.what, placed.after)
                continue
            step = placed.after
        if not evaluation.decided:
            self.rule.record(evaluation, "exited", "end", step="end")
        return entered

    def _side(self, evaluation: Evaluation, fork: Fork, after: str | None) -> str | None:
        side = fork.then if self.rule.holds(fork.condition, evaluation) else fork.otherwise
        return side or after

    def _send(self, evaluation: Evaluation, send: Send, step: str) -> Outcome:
        context, clock_ms, record = evaluation.context, evaluation.clock_ms, self.rule.record
        state = context.state
        if context.late:
            record(evaluation, "suppressed", "late", step=step)
            return "suppressed"
        ids = self._templates.get(send.template, _NO_IDS)
        via, closed = self._reach(evaluation, send.via, ids)
        if closed:
            record(evaluation, "suppressed", closed, step=step)
            return "suppressed"
        if self._window is not None and (kept := self._keep_quiet(evaluation, step)):
            return kept
        if self._cap is not None:
            full = self._cap.full(state, clock_ms)
            evaluation.note(f"cap {self._cap.name}", 1, ok=not full)
            if full:
                record(evaluation, "suppressed", f"cap:{self._cap.name}", step=step)
                return "suppressed"
        if self.rule.rule.status == "shadow":
            record(evaluation, "suppressed", "shadow", step=step)
            return "sent"
        touch = self._touch(evaluation, send, via, ids, step)
        use(state, via[0], ids)
        if self._cap is not None:
            self._cap.reserve(state, clock_ms, touch.touch_id)
        credit(state, self.rule.id, evaluation.trigger, touch.touch_id)
        record(evaluation, "sent", "passed", step=step).touch_id = touch.touch_id
        context.effects.touches.append(touch)
        return "sent"

    def _reach(
        self, evaluation: Evaluation, via: list[str], ids: Mapping[str, str]
    ) -> tuple[list[str], str]:
        """Return the channels that may be used now; with none, the reason of the last to close."""
        state, clock_ms = evaluation.context.state, evaluation.clock_ms
        allowed = via
        if state.answers and self.rule.rule.purpose == "marketing":
            never = refused(state, ALL_CHANNELS)
            allowed = [channel for channel in via if not (never or refused(state, channel))]
            if allowed != via:
                evaluation.note("marketing not refused", ", ".join(allowed), ok=bool(allowed))
            if not allowed:
                return allowed, "refused"
        opened = [channel for channel in allowed if is_open(state, channel, clock_ms)]
        if opened != allowed:
            evaluation.note("channels open", ", ".join(opened), ok=bool(opened))
        if not opened:
            return opened, "channel:closed"
        consenting = [channel for channel in opened if agreed(state, channel, ids)]
        if consenting != opened:
            evaluation.note("consent given", ", ".join(consenting), ok=bool(consenting))
        return consenting, "" if consenting else "consent"

    def _keep_quiet(self, evaluation: Evaluation, step: str) -> Outcome | None:
        """Apply quiet hours to a send; return its outcome, ``None`` if it may go out."""
        window, quiet, clock_ms = self._window, self._quiet, evaluation.clock_ms
        if window is None or quiet is None:
            return None
        zone = evaluation.context.state.zone
        end_ms = window.end_ms(clock_ms, zone_of(zone) if zone else None)
        ok = end_ms is None or quiet.hit == "send"
        evaluation.note(f"quiet {window.name}", end_ms, ok=ok)
        if end_ms is None or ok:
            return None
        too_long = quiet.max_hold_ms is not None and end_ms - clock_ms > quiet.max_hold_ms
        if quiet.hit == "drop" or too_long:
            reason = f"quiet:{window.name}" if quiet.hit == "drop" else "max_hold"
            self.rule.record(evaluation, "suppressed", reason, step=step)
            return "suppressed"
        self._park(evaluation, step, end_ms, on_hold=True)
        self.rule.record(evaluation, "held", f"quiet:{window.name}", step=step)
        return "held"

    def _until(self, evaluation: Evaluation, wait: Wait) -> int:
        wait_ms, clock_ms = wait.for_ms or 0, evaluation.clock_ms
        if wait.until_min is None:
            return clock_ms + wait_ms
        zone = zone_or(evaluation.context.state.zone, self._zone)
        # Whole days before a time of day are days of the calendar, though clocks may change.
        days, rest_ms = divmod(wait_ms, DAY_MS)
        due_ms = clock_ms + wait_ms if rest_ms else after_days(zone, clock_ms, days)
        return next_instant(zone, due_ms, wait.until_min)

    def _park(
        self, evaluation: Evaluation, step: str, due_ms: int, *, on_hold: bool = False
    ) -> None:
        context = evaluation.context
        journey = Journey(
            rule=self.rule.id,
            version=evaluation.version,
            trigger=evaluation.trigger,
            step=step,
            due_ms=due_ms,
            fire_at_ms=due_ms + self._settle_ms,
            cause=to_cause(context.event, self._keeps),
            variant=evaluation.variant,
            on_hold=on_hold,
            key=evaluation.key,
        )
        context.state.journeys.append(journey)

    def _touch(
        self, evaluation: Evaluation, send: Send, via: list[str], ids: Mapping[str, str], step: str
    ) -> Touch:
        """Return the touch of a step; the first step's id is that of the journey alone."""
        context = evaluation.context
        event, version = context.event, evaluation.version
        root = make_id("touch", self.rule.id, version, event.user, evaluation.trigger)
        return Touch(
            touch_id=root if step == _ROOT_STEP else f"{root}-{step}",
            rule=self.rule.id,
            rule_version=self.rule.version,
            user=event.user,
            via=via,
            template=send.template,
            time_ms=context.at_ms,
            variant=evaluation.variant,
            identities={**context.state.identities, **event.identities},
            properties=limited(event.properties),
            template_ids={channel: ids[channel] for channel in via if channel in ids},
        )


class OnExit:
    """An exit: ends the journeys that began before it; an earlier entry that is late is barred."""

    def __init__(self, flow: Flow, where: Node | None) -> None:
        self._flow, self.where = flow, where
        self.priority = flow.rule.priority

    def __call__(self, context: Context) -> None:
        """Take an event."""
        state, event, at_ms = context.state, context.event, context.at_ms
        rule = self._flow.rule.id
        memory = state.rule(rule)
        memory.exits = [max(at_ms, *memory.exits)] if memory.exits else [at_ms]
        ended = [
            journey
            for journey in state.journeys
            if journey.rule == rule
            and journey.cause.time_ms <= at_ms
            and journey.cause.message_id != event.message_id
        ]
        if ended:
            state.journeys = [journey for journey in state.journeys if journey not in ended]
            for journey in ended:
                cause = to_event(journey.cause, event.user)
                self._flow.leave(context.about(cause), journey)
