"""Triggers that an event fires: alone, as the n-th, as the last of a sequence, by a tag's move."""

from bisect import insort
from typing import Final, Protocol

from schemas.conditions import Node
from schemas.touches import TagChange
from streams.core.language.compile import Getter, Predicate, TagPredicate
from streams.core.language.join_keys import key_of
from streams.core.rules.evaluation import Context
from streams.core.rules.journeys import Flow
from streams.core.state.recent_times import MAX_TIMES, times_of
from streams.core.state.user import LATE_MS

# Stands for the name of every event.
ANY: Final = "*"
# A step of a sequence stands in the lowest four bits of its time: 16 steps at most.
_STEPS: Final = 16


class Trigger(Protocol):
    """What a rule does with an event of a name it waits for.

    It is called for events for which ``where`` holds, those of the highest priority first.
    """

    @property
    def priority(self) -> int:
        """Return the rule's priority."""

    @property
    def where(self) -> Node | None:
        """Return what the event must satisfy, ``None`` for nothing."""

    def __call__(self, context: Context) -> None:
        """Take an event: change the state, add to the effects."""


class OnEvent:
    """Fires at each event that passes ``where``."""

    def __init__(self, flow: Flow, where: Node | None) -> None:
        self._flow, self.where, self.priority = flow, where, flow.rule.priority

    def __call__(self, context: Context) -> None:
        """Take an event; decide."""
        self._flow.decide(context, context.event.message_id)


class OnCount:
    """Fires at the event that makes n within a time, ends included; then counts from zero.

    The time ends at the newest event of the key: an event more than ``within`` before it no
    longer counts. The 64 keys with the newest events are kept.
    """

    def __init__(
        self, flow: Flow, where: Node | None, by: list[Getter], n: int, within_ms: int
    ) -> None:
        self._flow, self.where, self._by = flow, where, by
        self._n, self._within_ms = n, within_ms
        self.priority = flow.rule.priority

    def __call__(self, context: Context) -> None:
        """Take an event; decide if it is the n-th."""
        state, event = context.state, context.event
        key = key_of(self._by, event)
        if key is None:
            return
        counts = state.rule(self._flow.rule.id).counts
        times = times_of(counts, key, state.latest_ms - self._within_ms)
        insort(times, context.at_ms)
        while times[0] < times[-1] - self._within_ms:
            del times[0]
        if len(times) >= self._n:
            del counts[key]
            self._flow.decide(context, event.message_id)


class OnSequence:
    """Fires at the event that completes a sequence, whichever of its events that is.

    Each step is strictly later than the one before, so the order of arrival does not
    matter and no event is two steps. The events that complete it, and all before, are used up.
    """

    where = None

    def __init__(
        self,
        flow: Flow,
        steps: list[tuple[list[str], Predicate | None]],
        join: list[Getter],
        within_ms: int,
    ) -> None:
        self._flow, self._steps, self._join, self._within_ms = flow, steps, join, within_ms
        self.priority = flow.rule.priority

    def __call__(self, context: Context) -> None:
        """Take an event; decide if it is the last that was missing."""
        state, event = context.state, context.event
        steps = [
            i
            for i, (names, where) in enumerate(self._steps)
            if (event.event in names or ANY in names) and (where is None or where(event))
        ]
        key = key_of(self._join, event) if steps else None
        if key is None:
            return
        chains = state.rule(self._flow.rule.id).chains
        gone = (state.latest_ms - self._within_ms - LATE_MS) * _STEPS
        times = times_of(chains, key, gone)
        for step in steps:
            insort(times, context.at_ms * _STEPS + step)
        end_ms = self._complete(times)
        if end_ms is not None:
            times[:] = [time for time in times if time // _STEPS > end_ms]
            self._flow.decide(context, event.message_id)
        times[:] = [time for time in times if time >= gone][-4 * MAX_TIMES :]
        if not times:
            del chains[key]

    def _complete(self, times: list[int]) -> int | None:
        """Return when the earliest whole sequence among times ends, if there is one."""
        by_step: list[list[int]] = [[] for _ in self._steps]
        for time in times:
            if time % _STEPS < len(by_step):
                by_step[time % _STEPS].append(time // _STEPS)
        for end_ms in by_step[-1]:
            at_ms: int | None = end_ms
            for earlier in reversed(by_step[:-1]):
                # The latest possible beginning leaves the most room.
                at_ms = max(
                    (time_ms for time_ms in earlier if time_ms < (at_ms or 0)), default=None
                )
                if at_ms is None:
                    break
            if at_ms is not None and end_ms - at_ms <= self._within_ms:
                return end_ms
        return None


class OnTag:
    """Fires when a tag comes to a value, or leaves it."""

    def __init__(self, flow: Flow, is_it: TagPredicate, *, enters: bool) -> None:
        self._flow, self._is_it, self._enters = flow, is_it, enters
        self.priority = flow.rule.priority

    def matches(self, change: TagChange) -> bool:
        """Say whether a change crosses into, or out of, what is waited for."""
        before, after = change.before, change.after
        now = self._is_it(lambda _: after)
        return now == self._enters and now != self._is_it(lambda _: before)

    def on_change(self, context: Context, change: TagChange, clock_ms: int) -> None:
        """Take a change that matches; the context's event moved the tag, or stands for time."""
        self._flow.decide(context, change.message_id or f"@{change.time_ms}", clock_ms)


class TagTrigger(Protocol):
    """What a rule does with a change of a tag."""

    @property
    def priority(self) -> int:
        """Return the rule's priority."""

    def matches(self, change: TagChange) -> bool:
        """Say whether a change is one that is waited for."""

    def on_change(self, context: Context, change: TagChange, clock_ms: int) -> None:
        """Take a change that matches; the context's event moved the tag, or stands for time.

        The context's time is the change's.
        """


class TagMoved:
    """A change that an event made to a tag, among the event's triggers."""

    where = None

    def __init__(self, trigger: TagTrigger, change: TagChange) -> None:
        self._trigger, self._change = trigger, change
        self.priority = trigger.priority

    def __call__(self, context: Context) -> None:
        """Take the event."""
        clock_ms = max(context.at_ms, context.event.received_at_ms)
        self._trigger.on_change(context, self._change, clock_ms)
