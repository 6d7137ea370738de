"""Fill ClickHouse and the worker's state with a shop's users, past the front door.

The events are folded by the engine with timers as a lane does, their states go to the
changelog in the worker's format, their rows to ClickHouse by the lander's own code; the
offsets of both groups are set. What is skipped is the log itself: 10 million events through
edge and worker take longer than a bench may. Used by `siyu audit tags`'s bench and test.
"""

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.events import Event, encode_event
from schemas.settings import Settings
from schemas.topics import ENGAGE_STATE, EVENTS
from sinks.clickhouse.land import GROUP as LAND_GROUP
from sinks.clickhouse.rows import build_parts, span_of
from sinks.clickhouse.writer import Writer
from streams.authoring.load import load_rulebook
from streams.core.engine import Engine
from streams.core.replay import run_timers
from streams.kafka_client.producing import partition_of
from streams.runtime.app import GROUP as WORKER_GROUP
from streams.runtime.lanes.producers import new_producer, send_all
from streams.runtime.state.shard import pack_value

END_MS = 1_790_000_000_000
DAY_MS = 86_400_000
_SPAN_DAYS = 120
_BLOCK_ROWS = 50_000
_IN_TUNNELS = 0.03
_NAMES = (
    "product_viewed",
    "page_viewed",
    "app_started",
    "cart_added",
    "order_paid",
    "coupon_used",
    "content_shared",
    "message_received",
    "order_refunded",
    "official_account_followed",
    "official_account_unfollowed",
    "tag_imported",
)
_WEIGHTS = (34, 14, 12, 12, 12, 4, 4, 3, 2, 1, 1, 1)
_CHANNELS = ("campaign:douyin", "qr:shop", "share", "search", None)
_CATEGORIES = ("tea", "pots", "cups", "snacks", "gifts", "books")


@dataclass(frozen=True)
class Job:
    """What to load: users with ``mean`` events each, over the partitions of ``events``."""

    settings: Settings
    rulebook: Path
    users: int
    mean: float
    partitions: int


@dataclass
class Logged:
    """A record as the lander sees it."""

    offset: int
    value: bytes
    timestamp: int


def events_of(number: int, mean: float) -> list[Event]:
    """Return one user's events in the order of arrival; the same number makes the same."""
    chance = random.Random(number)
    user, count = f"user_id:u{number}", max(1, round(chance.expovariate(1 / mean)))
    last_ms = END_MS - round(chance.expovariate(1 / 20) * DAY_MS) % (_SPAN_DAYS * DAY_MS)
    found: list[tuple[int, Event]] = []
    for i in range(count):
        at_ms = last_ms - round(chance.random() ** 2 * _SPAN_DAYS * DAY_MS)
        # Most arrive at once; some phones were in a tunnel, some for days.
        late_ms = round(chance.expovariate(1 / 2000))
        if chance.random() < _IN_TUNNELS:
            late_ms += round(chance.random() * 2 * DAY_MS)
        name = chance.choices(_NAMES, _WEIGHTS)[0]
        channel = chance.choice(_CHANNELS)
        event = Event(
            message_id=f"m{number}-{i}",
            type="track",
            event=name,
            user=user,
            source="server" if name == "tag_imported" else "app",
            door="native",
            account="bench",
            timestamp_ms=at_ms,
            received_at_ms=at_ms + late_ms,
            identities={"user_id": user[8:]},
            context={"channel": channel} if channel else {},
            properties=_properties(chance, name),
        )
        found.append((event.received_at_ms, event))
    return [event for _, event in sorted(found, key=lambda one: (one[0], one[1].message_id))]


def _properties(chance: random.Random, name: str) -> dict[str, Any]:
    if name == "tag_imported":
        level = chance.choice(("gold", "silver", None))
        return {"tag": "crm_level", "value": level} if level else {"tag": "crm_level"}
    found: dict[str, Any] = {}
    if name in ("product_viewed", "cart_added", "content_shared"):
        found["sku"] = f"s{round(chance.expovariate(1 / 25))}"
    if name in ("product_viewed", "cart_added", "order_paid"):
        found["category"] = chance.choice(_CATEGORIES)
    if name in ("cart_added", "order_paid", "order_refunded"):
        found["amount"] = round(chance.lognormvariate(4.6, 0.9), 2)
    return found


def load(job: Job, processes: int = 1) -> dict[str, int]:
    """Load it; return how many users and events there are."""
    if processes == 1:
        ends = [_load_part(job, 0, 1)]
    else:
        with ProcessPoolExecutor(processes) as pool:
            made = [pool.submit(_load_part, job, part, processes) for part in range(processes)]
            ends = [one.result() for one in made]
    offsets = {p: end for found in ends for p, end in found.items()}
    asyncio.run(_commit(job.settings, offsets))
    return {"users": job.users, "events": sum(offsets.values())}


def _load_part(job: Job, part: int, parts: int) -> dict[int, int]:
    """Load the users of every ``parts``-th partition; return the end of each partition."""
    return asyncio.run(_fill(job, [one for one in range(job.partitions) if one % parts == part]))


async def _fill(job: Job, mine: list[int]) -> dict[int, int]:
    engine, writer = Engine(load_rulebook(job.rulebook)), Writer(job.settings)
    ends = dict.fromkeys(mine, 0)
    blocks: dict[int, list[Logged]] = {one: [] for one in mine}
    states: dict[int, list[tuple[bytes | None, bytes, list[tuple[str, bytes]]]]] = {
        one: [] for one in mine
    }
    producer = new_producer(job.settings, transactional_id=None)
    await producer.start()
    try:
        for key, partition, events in _users(job, set(mine)):
            value = _folded(engine, key.decode(), events, ends[partition])
            states[partition].append((key, value, []))
            block = blocks[partition]
            for event in events:
                block.append(Logged(ends[partition], encode_event(event), END_MS))
                ends[partition] += 1
            if len(block) >= _BLOCK_ROWS:
                _insert(writer, partition, block)
                await send_all(producer, ENGAGE_STATE.name, partition, states[partition])
                states[partition].clear()
        for partition in mine:
            _insert(writer, partition, blocks[partition])
            await send_all(producer, ENGAGE_STATE.name, partition, states[partition])
    finally:
        await producer.stop()
        writer.close()
    return ends


def _users(job: Job, mine: set[int]) -> Iterator[tuple[bytes, int, list[Event]]]:
    for number in range(job.users):
        key = f"user_id:u{number}".encode()
        partition = partition_of(key, job.partitions)
        if partition in mine:
            yield key, partition, events_of(number, job.mean)


def _folded(engine: Engine, user: str, events: list[Event], first: int) -> bytes:
    state = engine.load(None)
    for event in events:
        for _ in run_timers(engine, state, user, event.received_at_ms):
            pass
        engine.on_event(state, event)
    packed, timer_ms = engine.dump(state), engine.next_timer_ms(state)
    return pack_value(packed, offset=first + len(events) - 1, timer_ms=timer_ms)


def _insert(writer: Writer, partition: int, block: list[Logged]) -> None:
    if block:
        for made in build_parts(span_of(EVENTS.name, partition, block), block):
            writer.insert(made)
        block.clear()


async def _commit(settings: Settings, offsets: dict[int, int]) -> None:
    for group in (WORKER_GROUP, LAND_GROUP):
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka, group_id=group, enable_auto_commit=False
        )
        await consumer.start()
        try:
            tps = {TopicPartition(EVENTS.name, one): end for one, end in offsets.items()}
            consumer.assign(list(tps))
            await consumer.commit(tps)
        finally:
            await consumer.stop()
