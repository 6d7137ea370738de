"""Replay: fold a user's logged events through the engine as a live lane does, without a clock.

Time comes from the log: it is the arrival of each event in turn (or the newest arrival of the
partition up to it, where known), stops at every timer on the way and then runs on to
``until_ms``. A lane runs a user's timers by the same ``run_timers``, so both give the same
decisions; docs/backtest.md says what can differ.
"""

from collections.abc import Iterator, Sequence

from schemas.errors import SiyuError
from schemas.events import Event, LoggedEvent
from schemas.tags import BACKFILLED
from schemas.touches import Decision
from streams.core.engine import Engine
from streams.core.rebuild import apply_rebuilt, is_rebuilt
from streams.core.rules.evaluation import Effects
from streams.core.state.user import State


class Unfoldable(SiyuError):
    """The engine raised at an event: leave it out, as the worker does, and replay again."""

    def __init__(self, index: int, event: Event, fault: Exception) -> None:
        super().__init__(f"{event.event} {event.message_id} of {event.user}: {fault!r}")
        self.index = index


def run_timers(
    engine: Engine, state: State, user: str, now_ms: int
) -> Iterator[tuple[int, Effects]]:
    """Fire what is ready up to ``now_ms``; yield each time, and what follows from it."""
    while (at_ms := engine.next_timer_ms(state)) is not None and at_ms <= now_ms:
        yield at_ms, engine.on_timers(state, user, at_ms)


def replay(
    engine: Engine, user: str, events: Sequence[Event], until_ms: int, state: State | None = None
) -> Iterator[tuple[int, Effects]]:
    """Yield ``(when, effects)`` of a user's events in log order, on ``state`` or a new one.

    ``when`` is the time of the effects in ms: an arrival, or the firing of a timer.
    Raises ``Unfoldable``.
    """
    if state is None:
        state = engine.load(None)
    offset = -1
    for index, event in enumerate(events):
        now_ms = event.received_at_ms
        if type(event) is LoggedEvent and event.clock_ms > now_ms:
            now_ms = event.clock_ms
        try:
            at_ms = engine.next_timer_ms(state)
            if at_ms is not None and at_ms <= now_ms:
                yield from run_timers(engine, state, user, now_ms)
            if event.event == BACKFILLED and is_rebuilt(event):
                yield now_ms, apply_rebuilt(engine, state, event, offset)
            else:
                yield now_ms, engine.on_event(state, event, now_ms)
            if type(event) is LoggedEvent:
                offset = event.offset
        except Exception as fault:
            raise Unfoldable(index, event, fault) from fault
    yield from run_timers(engine, state, user, until_ms)


def decisions_of(
    engine: Engine, user: str, events: Sequence[Event], until_ms: int
) -> tuple[list[tuple[int, Decision]], list[str]]:
    """Return ``(when, decision)`` of a replay, and what was wrong with events left out."""
    left_out: list[str] = []
    while True:
        try:
            said = [
                (at_ms, decision)
                for at_ms, effects in replay(engine, user, events, until_ms)
                if effects.decisions
                for decision in effects.decisions
            ]
        except Unfoldable as bad:
            events = [*events[: bad.index], *events[bad.index + 1 :]]
            left_out.append(str(bad))
        else:
            return said, left_out
