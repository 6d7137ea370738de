"""Triggers that fire at an event: each one alone, or the n-th within a time."""

from bisect import insort
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Protocol

from schemas.events import Event
from streams.core.compile import Getter, Predicate
from streams.core.rules import Effects, LiveRule
from streams.core.state import State, times_of

MAX_KEY: Final = 64


def key_of(getters: Sequence[Getter], event: Event) -> str | None:
    """Return the text of an event's values; ``None`` if one is missing or is not plain.

    12 and "12" are one key: sources differ in how they write an id.
    """
    parts = []
    for get in getters:
        value = get(event)
        if value is None or isinstance(value, dict | list):
            return None
        parts.append(str(value))
    key = "\x1f".join(parts)
    # State stays small whatever an event brings.
    return key if len(key) <= MAX_KEY else blake2b(key.encode(), digest_size=16).hexdigest()


class Trigger(Protocol):
    """What a rule does with an event of a name it waits for; ``at_ms`` is the event's time."""

    def __call__(
        self, state: State, event: Event, at_ms: int, effects: Effects, *, late: bool
    ) -> None:
        """Take an event: change the state, add to the effects."""


class OnEvent:
    """Fires at each event that passes ``where``."""

    def __init__(self, rule: LiveRule, where: Predicate | None) -> None:
        self._rule, self._where = rule, where

    def __call__(
        self, state: State, event: Event, at_ms: int, effects: Effects, *, late: bool
    ) -> None:
        """Take an event; decide if it fires."""
        if self._where is None or self._where(event):
            self._rule.decide(state, event, at_ms, event.message_id, effects, late=late)


class OnCount:
    """Fires at the event that makes n within a time, ends included; then counts from zero.

    The time ends at the newest event of the key: one that comes later than ``within``
    after it no longer counts. The 64 keys with the newest events are held.
    """

    def __init__(
        self, rule: LiveRule, where: Predicate | None, by: list[Getter], n: int, within_ms: int
    ) -> None:
        self._rule, self._where, self._by = rule, where, by
        self._n, self._within_ms = n, within_ms

    def __call__(
        self, state: State, event: Event, at_ms: int, effects: Effects, *, late: bool
    ) -> None:
        """Take an event; decide if it is the n-th."""
        if self._where is not None and not self._where(event):
            return
        key = key_of(self._by, event)
        if key is None:
            return
        held = state.rule(self._rule.id).counts
        times = times_of(held, key, state.latest_ms - self._within_ms)
        insort(times, at_ms)
        while times[0] < times[-1] - self._within_ms:
            del times[0]
        if len(times) >= self._n:
            del held[key]
            self._rule.decide(state, event, at_ms, event.message_id, effects, late=late)
