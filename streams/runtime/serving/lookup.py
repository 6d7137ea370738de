"""Look one user up in the lanes of this worker: a few microseconds of state and tags each."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas import clock
from schemas.profiles import Found, TimerNow
from streams.agents.engage import Engage
from streams.core.profiles import tags_now
from streams.core.state.user import State
from streams.kafka_client.producing import partition_of
from streams.runtime.lanes.lane import PartitionLane
from streams.runtime.lanes.lanes import Lanes
from streams.runtime.serving.directory import Directory

# How long a request waits for the index of identities, the first time that it is made.
_INDEX_WAIT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Nobody:
    """No user here has the identifier; ``asked`` are the partitions for which that is sure."""

    asked: frozenset[int]


class Lookup:
    """Finds users by their key or by any identity that their state holds."""

    def __init__(self, engage: Engage, *, index: bool) -> None:
        self._engage, self._index = engage, index
        self._directory = Directory(self._identities_of)
        engage.noted = self._directory.note

    async def find(self, lanes: Lanes, names: list[str], partitions: int) -> Found | Nobody:
        """Return the user who has one of these identifiers, or for which partitions nobody has."""
        opened = {lane.partition: lane for lane in lanes.open_lanes() if not lane.closing}
        for name in names:
            lane = opened.get(partition_of(name.encode(), partitions))
            if lane is not None and lane.get(name.encode()) is not None:
                return self._found(lane, name.encode(), name)
        if not self._index:
            return Nobody(frozenset(opened))
        self._directory.keep_only(list(opened.values()))
        waits = [self._directory.ready(lane, _INDEX_WAIT_S) for lane in opened.values()]
        ready = await asyncio.gather(*waits)
        asked = {partition for partition, is_ready in zip(opened, ready, strict=True) if is_ready}
        for lane in opened.values():
            for name in names:
                key = self._directory.find(lane, name)
                if key is not None and not lane.closing:
                    return self._found(lane, key, name)
        return Nobody(frozenset(asked))

    @property
    def indexed(self) -> int:
        """How many identities the index holds."""
        return len(self._directory)

    def _identities_of(self, packed: bytes) -> Mapping[str, str]:
        return self._engage.engine.load(packed).identities

    def _found(self, lane: PartitionLane, key: bytes, matched: str) -> Found:
        engine = self._engage.engine_of(lane.partition)
        state = engine.load(lane.get(key))
        at_ms = max(clock.now_ms(), state.latest_ms)
        tags = tags_now(engine, state, at_ms)
        return Found(
            user=key.decode(),
            matched=matched,
            partition=lane.partition,
            offset=lane.offset(key),
            at_ms=at_ms,
            tags=tags,
            identities=dict(state.identities),
            timers=_timers(state),
            next_timer_ms=engine.next_timer_ms(state),
        )


def _timers(state: State) -> list[TimerNow]:
    timers = [
        TimerNow(
            rule=wait.rule,
            kind=kind,
            due_ms=wait.due_ms,
            fire_at_ms=wait.fire_at_ms,
            message_id=wait.cause.message_id,
        )
        for kind, waits in (("absence", state.timers), ("step", state.journeys))
        for wait in waits
    ]
    timers += [
        TimerNow(rule=rule, kind="alarm", due_ms=due_ms, fire_at_ms=due_ms)
        for rule, due_ms in state.scheduled.items()
    ]
    return sorted(timers, key=lambda wait: wait.due_ms)
