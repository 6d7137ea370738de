"""How a consumer fetches, and what the broker last said of a partition.

aiokafka 0.14 sends the next fetch as soon as one is answered (``Fetcher._proc_fetch_request``)
and has no setting for a pause; its ``highwater()`` and ``last_stable_offset()`` assert that the
partition is assigned, which a rebalance may undo at any moment, and do not say when.
"""

import asyncio
import time
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition


class FetchAnswer(NamedTuple):
    """What the broker said of a partition in its last answer to a fetch."""

    answered_ms: int | None
    """Wall-clock time of the answer in ms since 1970, ``None`` before the first."""
    highwater: int | None
    """The offset behind the last record."""
    last_stable: int | None
    """The offset behind the last record that no open transaction hides; -1, ``None``: unknown."""


def last_answer(consumer: AIOKafkaConsumer, at: TopicPartition) -> FetchAnswer | None:
    """Return the last answer for a partition; ``None`` where it is not assigned (any more)."""
    subscription = consumer._subscription.subscription
    assignment = subscription.assignment if subscription is not None else None
    state = assignment.state_value(at) if assignment is not None else None
    return None if state is None else FetchAnswer(state.timestamp, state.highwater, state.lso)


def set_fetch_options(
    consumer: AIOKafkaConsumer, *, max_wait_ms: int, isolation_level: str
) -> None:
    """Set what is an argument of the constructor, on a consumer that is not started yet.

    For consumers that a library makes: Faust's driver hard-codes the first.
    """
    consumer._fetch_max_wait_ms = max_wait_ms
    consumer._isolation_level = isolation_level


def space_fetches(consumer: AIOKafkaConsumer, every_s: float) -> None:
    """Make a started consumer ask each broker node at most once in *every_s* seconds."""
    fetcher = consumer._fetcher
    fetch, asked_s = fetcher._proc_fetch_request, dict[int, float]()

    async def fetch_in_time(assignment: object, node_id: int, request: object) -> object:
        pause_s = asked_s.get(node_id, 0.0) + every_s - time.monotonic()
        if pause_s > 0:
            try:
                await asyncio.sleep(pause_s)
            except asyncio.CancelledError:
                return False  # as aiokafka's own does: its close() waits for it unguarded
        asked_s[node_id] = time.monotonic()
        return await fetch(assignment, node_id, request)

    fetcher._proc_fetch_request = fetch_in_time
