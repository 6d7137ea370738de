"""Runs (旅程): a user's way through a rule's steps, parked in the state where it waits.

A run goes on with the steps of the rulebook of that time, from the step of its id: if that
is gone, or is another kind of step now, the run ends. An exit ends it at once. A send that
is held back does not end it, unless its audience no longer holds at the end of quiet hours.
"""

from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

from schemas.conditions import Node
from schemas.events import Event
from schemas.policies import Policies
from schemas.rules import Send, Wait
from schemas.touches import Touch
from streams.core.ids import make_id
from streams.core.rules.caps import Cap
from streams.core.rules.consents import ALL_CHANNELS, refused
from streams.core.rules.evaluation import Effects, Hearing, timely
from streams.core.rules.goals import credit
from streams.core.rules.quiet_hours import QuietWindow
from streams.core.rules.reachability import agreed, is_open, use
from streams.core.rules.rule import LiveRule
from streams.core.rules.steps import Fork, compiled
from streams.core.rules.stored_event import limited, to_cause, to_event
from streams.core.rules.zones import after_days, next_instant, zone_of
from streams.core.state.user import DAY_MS, LATE_MS, Run, State

_ROOT_STEP: Final = "0"
_NO_IDS: Final[dict[str, str]] = {}


class Flow:
    """The steps of one rule at work on states; ``keeps`` are the parts of an event read later."""

    def __init__(
        self, rule: LiveRule, policies: Policies, keeps: frozenset[str], settle_ms: int
    ) -> None:
        self.rule, self._keeps, self._settle_ms = rule, keeps, settle_ms
        self._program, self._first = compiled(rule.rule.steps)
        self._tz, self._templates = ZoneInfo(policies.tz), policies.templates
        guard = rule.rule.guard
        self._cap = Cap(guard.cap, policies.caps[guard.cap], policies.tz) if guard.cap else None
        self._quiet = guard.quiet
        self._window = (
            QuietWindow(guard.quiet.use, policies.quiet[guard.quiet.use], policies.tz)
            if guard.quiet
            else None
        )
        rule.start = self.start

    def start(self, hearing: Hearing, effects: Effects) -> bool:
        """Take a user through the first steps; say whether that entered the rule."""
        return self._go(hearing, effects, self._first)

    def wake(self, state: State, run: Run, user: str, now_ms: int, effects: Effects) -> None:
        """Go on with a run whose time has come; it is in the state no more."""
        hearing = self._hearing(state, run, user, run.due_ms)
        hearing.clock_ms = timely(run.due_ms, run.fire_at_ms, now_ms)
        hearing.late = now_ms - run.due_ms > LATE_MS
        status = self.rule.rule.status
        placed = self._program.get(run.step)
        if status in ("draft", "paused"):
            self.rule.tell(hearing, effects, "exited", status, step=run.step)
        elif placed is None or not isinstance(placed.what, Send if run.held else Wait):
            self.rule.tell(hearing, effects, "exited", "step_gone", step=run.step)
        elif not run.held:
            self._go(hearing, effects, placed.after)
        elif self._quiet and self._quiet.recheck and not self.rule.audience_holds(hearing):
            self.rule.tell(hearing, effects, "suppressed", "audience", step=run.step)
        else:
            self._go(hearing, effects, run.step)

    def leave(self, state: State, run: Run, event: Event, at_ms: int, effects: Effects) -> None:
        """Say that an exit ended a run."""
        hearing = self._hearing(state, run, event.user, at_ms)
        self.rule.tell(hearing, effects, "exited", "exit", step="exit")

    def _hearing(self, state: State, run: Run, user: str, at_ms: int) -> Hearing:
        event = to_event(run.cause, user)
        return Hearing(
            state, event, at_ms, at_ms, run.trigger, run.version, late=False, begun=True,
            variant=run.variant, key=run.key,
        )  # fmt: skip

    def _go(self, hearing: Hearing, effects: Effects, step: str | None) -> bool:
        """Take steps until one waits or none is left; say whether a touch went or may go."""
        took = False
        while step is not None:
            placed = self._program[step]
            if isinstance(placed.what, Send):
                what_came = self._send(hearing, effects, placed.what, step)
                if what_came == "held":
                    return True
                took = took or what_came == "sent"
            elif isinstance(placed.what, Wait):
                self._park(hearing, step, self._until(hearing, placed.what))
                if not hearing.begun and not hearing.told:
                    self.rule.tell(hearing, effects, "held", "wait", step=step)
                return True
            else:
                step = self._side(hearing, placed.what, placed.after)
                continue
            step = placed.after
        if not hearing.told:
            self.rule.tell(hearing, effects, "exited", "end", step="end")
        return took

    def _side(self, hearing: Hearing, fork: Fork, after: str | None) -> str | None:
        side = fork.then if self.rule.holds(fork.condition, hearing) else fork.otherwise
        return side or after

    def _send(self, hearing: Hearing, effects: Effects, send: Send, step: str) -> str:
        state, clock_ms, tell = hearing.state, hearing.clock_ms, self.rule.tell
        if hearing.late:
            tell(hearing, effects, "suppressed", "late", step=step)
            return "suppressed"
        ids = self._templates.get(send.template, _NO_IDS)
        via, closed = self._reach(hearing, send.via, ids)
        if closed:
            tell(hearing, effects, "suppressed", closed, step=step)
            return "suppressed"
        if self._window is not None and (kept := self._keep_quiet(hearing, effects, step)):
            return kept
        if self._cap is not None:
            full = self._cap.full(state, clock_ms)
            hearing.note(f"cap {self._cap.name}", 1, ok=not full)
            if full:
                tell(hearing, effects, "suppressed", f"cap:{self._cap.name}", step=step)
                return "suppressed"
        if self.rule.rule.status == "shadow":
            tell(hearing, effects, "suppressed", "shadow", step=step)
            return "sent"
        touch = self._touch(hearing, send, via, ids, step)
        use(state, via[0], ids)
        if self._cap is not None:
            self._cap.reserve(state, clock_ms, touch.touch_id)
        credit(state, self.rule.id, hearing.trigger, touch.touch_id)
        tell(hearing, effects, "sent", "passed", step=step).touch_id = touch.touch_id
        effects.touches.append(touch)
        return "sent"

    def _reach(
        self, hearing: Hearing, via: list[str], ids: Mapping[str, str]
    ) -> tuple[list[str], str]:
        """Return the channels that may be used now; with none, the reason of the last to close."""
        state, clock_ms = hearing.state, hearing.clock_ms
        found = via
        if state.answers and self.rule.rule.purpose == "marketing":
            never = refused(state, ALL_CHANNELS)
            found = [one for one in via if not (never or refused(state, one))]
            if found != via:
                hearing.note("marketing not refused", ", ".join(found), ok=bool(found))
            if not found:
                return found, "refused"
        opened = [one for one in found if is_open(state, one, clock_ms)]
        if opened != found:
            hearing.note("channels open", ", ".join(opened), ok=bool(opened))
        if not opened:
            return opened, "channel:closed"
        agreeing = [one for one in opened if agreed(state, one, ids)]
        if agreeing != opened:
            hearing.note("consent given", ", ".join(agreeing), ok=bool(agreeing))
        return agreeing, "" if agreeing else "consent"

    def _keep_quiet(self, hearing: Hearing, effects: Effects, step: str) -> str:
        """Do what quiet hours want of a send; nothing if it may go out."""
        window, quiet = self._window, self._quiet
        if window is None or quiet is None:
            return ""
        zone = zone_of(hearing.state.zone) if hearing.state.zone else None
        end_ms = window.end_ms(hearing.clock_ms, zone)
        hearing.note(f"quiet {window.name}", end_ms, ok=end_ms is None or quiet.hit == "send")
        if end_ms is None or quiet.hit == "send":
            return ""
        too_long = quiet.max_hold_ms is not None and end_ms - hearing.clock_ms > quiet.max_hold_ms
        if quiet.hit == "drop" or too_long:
            reason = f"quiet:{window.name}" if quiet.hit == "drop" else "max_hold"
            self.rule.tell(hearing, effects, "suppressed", reason, step=step)
            return "suppressed"
        self._park(hearing, step, end_ms, held=True)
        self.rule.tell(hearing, effects, "held", f"quiet:{window.name}", step=step)
        return "held"

    def _until(self, hearing: Hearing, wait: Wait) -> int:
        wait_ms = wait.for_ms or 0
        if wait.until_min is None:
            return hearing.clock_ms + wait_ms
        zone = (zone_of(hearing.state.zone) if hearing.state.zone else None) or self._tz
        # Whole days before a time of day are days of the calendar, though clocks may change.
        days, rest_ms = divmod(wait_ms, DAY_MS)
        due_ms = hearing.clock_ms + wait_ms if rest_ms else after_days(zone, hearing.clock_ms, days)
        return next_instant(zone, due_ms, wait.until_min)

    def _park(self, hearing: Hearing, step: str, due_ms: int, *, held: bool = False) -> None:
        cause = to_cause(hearing.event, self._keeps)
        hearing.state.runs.append(Run(
            self.rule.id, hearing.version, hearing.trigger, step, due_ms,
            due_ms + self._settle_ms, cause, hearing.variant, held, hearing.key,
        ))  # fmt: skip

    def _touch(
        self, hearing: Hearing, send: Send, via: list[str], ids: Mapping[str, str], step: str
    ) -> Touch:
        """Return the touch of a step; the first step's has the id of the run alone."""
        event = hearing.event
        root = make_id("touch", self.rule.id, hearing.version, event.user, hearing.trigger)
        return Touch(
            touch_id=root if step == _ROOT_STEP else f"{root}-{step}",
            rule=self.rule.id,
            rule_version=self.rule.version,
            user=event.user,
            via=via,
            template=send.template,
            time_ms=hearing.at_ms,
            variant=hearing.variant,
            identities={**hearing.state.identities, **event.identities},
            properties=limited(event.properties),
            template_ids={one: ids[one] for one in via if one in ids},
        )


class OnExit:
    """An exit: ends the runs that began before it, and entries that are still to arrive."""

    def __init__(self, flow: Flow, where: Node | None) -> None:
        self._flow, self.where = flow, where
        self.priority = flow.rule.priority

    def __call__(
        self, state: State, event: Event, at_ms: int, effects: Effects, *, late: bool
    ) -> None:
        """Take an event."""
        del late
        rule = self._flow.rule.id
        held = state.rule(rule)
        held.exits = [max(at_ms, *held.exits)] if held.exits else [at_ms]
        left = [
            run
            for run in state.runs
            if run.rule == rule
            and run.cause.time_ms <= at_ms
            and run.cause.message_id != event.message_id
        ]
        if left:
            state.runs = [run for run in state.runs if run not in left]
            for run in left:
                self._flow.leave(state, run, event, at_ms, effects)
