"""Absence: an event after which another does not come, whatever order they arrive in.

A wait from ``start`` (the time of its ``after``) to ``due`` ends in a decision unless
there is a ``none`` with start <= time <= due. Both sides are remembered by join key, so
each finds the other whichever comes first. With ``again: restart`` a later ``after`` up
to due ends the wait as a ``none`` does; with ``ignore`` the earlier wait stands. An
``exit`` at or after start ends it with a decision, as long as it has not fired.

A wait fires only by ``on_timers``, at or after ``fire_at``: ``settle`` after due, or after
its event was received or reached the lane if that was later, so that what happened before due
can still arrive.
Live and a replay of the log can differ only in what arrived between fire_at and the real run
of the timer.
"""

from collections.abc import Callable
from typing import Final

from schemas.conditions import Node
from schemas.touches import Outcome
from schemas.triggers import Absence
from streams.core.language.compile import Getter
from streams.core.language.join_keys import key_of
from streams.core.rules.evaluation import Context, timely
from streams.core.rules.journeys import Flow
from streams.core.rules.rule import barred_by
from streams.core.rules.stored_event import to_cause, to_event
from streams.core.state.recent_times import MAX_KEYS, remember, times_of
from streams.core.state.user import LATE_MS, State, Timer

# Over 64 waits of one rule, a user gets no more: the reason of the decision.
TOO_MANY: Final = "too_many_waits"


class Waits:
    """The waits of one absence rule, in any user's state.

    ``keeps`` are the parts of an event, beside its properties, that the rule reads at the due.
    """

    def __init__(
        self,
        flow: Flow,
        absence: Absence,
        join: list[Getter],
        keeps: frozenset[str],
        settle_ms: int,
    ) -> None:
        self.flow, self._join, self._keeps, self._settle_ms = flow, join, keeps, settle_ms
        self._rule_id, self._status = flow.rule.id, flow.rule.rule.status
        self._within_ms, self._restart = absence.within_ms, absence.again == "restart"

    def after(self, context: Context) -> None:
        """Take an ``after``: start a wait, unless what is already known ends or bars it."""
        state, event, at_ms = context.state, context.event, context.at_ms
        key = key_of(self._join, event)
        if key is None:
            return
        memory = state.rule(self._rule_id)
        afters = times_of(memory.afters, key, self._horizon_ms(state))
        due_ms = at_ms + self._within_ms
        # The same millisecond is the same wait: its ids come from its start.
        barred = at_ms in afters or self._barred(state, key, at_ms, due_ms, afters)
        remember(afters, at_ms, self._horizon_ms(state))
        if barred or any(at_ms <= none_ms <= due_ms for none_ms in memory.nones.get(key, ())):
            return
        # Overtaken on its way, it is not alone: what ends the wait stands behind it in the log.
        fire_at_ms = max(due_ms, event.received_at_ms, context.now_ms) + self._settle_ms
        cause = to_cause(event, self._keeps)
        timer = Timer(self._rule_id, key, at_ms, due_ms, fire_at_ms, cause)
        if reason := barred_by(event):
            self._give_up(context, timer, reason)
        elif any(exit_ms >= at_ms for exit_ms in memory.exits):
            self._give_up(context, timer, "exit")
        elif len(self._pending(state)) >= MAX_KEYS:
            self._give_up(context, timer, TOO_MANY)
        else:
            state.timers.append(timer)

    def none(self, context: Context) -> None:
        """Take a ``none``: end the waits that it falls into, and those still to arrive."""
        state, event, at_ms = context.state, context.event, context.at_ms
        key = key_of(self._join, event)
        if key is None:
            return
        horizon_ms = self._horizon_ms(state)
        remember(times_of(state.rule(self._rule_id).nones, key, horizon_ms), at_ms, horizon_ms)
        ended = [
            timer
            for timer in self._pending(state)
            # An event that is both after and none does not end the wait it starts.
            if timer.key == key
            and timer.start_ms <= at_ms <= timer.due_ms
            and timer.cause.message_id != event.message_id
        ]
        self._drop(state, ended)

    def exit(self, context: Context) -> None:
        """Take an ``exit``: end all waits that began before it, with a decision each."""
        state, event = context.state, context.event
        ended = [
            timer
            for timer in self._pending(state)
            if timer.start_ms <= context.at_ms and timer.cause.message_id != event.message_id
        ]
        self._drop(state, ended)
        for timer in ended:
            self._give_up(context.about(to_event(timer.cause, event.user)), timer, "exit")

    def fire(self, context: Context, timer: Timer) -> None:
        """Decide on a wait that came to its end; the context is of its cause and due."""
        if self._status in ("draft", "paused"):
            self._give_up(context, timer, self._status)
            return
        due_ms = timely(timer.due_ms, timer.fire_at_ms, context.now_ms)
        clock_ms = max(context.event.received_at_ms, due_ms)
        self.flow.decide(context, wait_id(timer), clock_ms)

    def _barred(self, state: State, key: str, at_ms: int, due_ms: int, afters: list[int]) -> bool:
        """Settle with the other waits of the key; say whether there is none to start."""
        waits = [timer for timer in self._pending(state) if timer.key == key]
        if self._restart:
            self._drop(state, [wait for wait in waits if wait.start_ms < at_ms <= wait.due_ms])
            return any(at_ms < after_ms <= due_ms for after_ms in afters)
        if any(wait.start_ms <= at_ms <= wait.due_ms for wait in waits):
            return True
        self._drop(state, [wait for wait in waits if at_ms < wait.start_ms <= due_ms])
        return False

    def _give_up(self, context: Context, timer: Timer, reason: str) -> None:
        suppressed = reason in (TOO_MANY, "redriven", "bot")
        outcome: Outcome = "suppressed" if suppressed else "exited"
        self.flow.give_up(context, wait_id(timer), outcome, reason)

    def _pending(self, state: State) -> list[Timer]:
        return [timer for timer in state.timers if timer.rule == self._rule_id]

    def _drop(self, state: State, ended: list[Timer]) -> None:
        if ended:
            state.timers = [
                timer for timer in state.timers if not any(timer is other for other in ended)
            ]

    def _horizon_ms(self, state: State) -> int:
        return state.latest_ms - self._within_ms - LATE_MS


def wait_id(timer: Timer) -> str:
    """Return the id of a wait, unique within its rule and user."""
    return f"{timer.start_ms}:{timer.key}"


class OnPart:
    """Hands one kind of event of an absence rule (after, none or exit) to its waits."""

    def __init__(
        self,
        take: Callable[[Context], None],
        where: Node | None,
        priority: int,
    ) -> None:
        self._take, self.where, self.priority = take, where, priority

    def __call__(self, context: Context) -> None:
        """Take an event; a late one still starts and ends waits: that is judged at firing."""
        self._take(context)
