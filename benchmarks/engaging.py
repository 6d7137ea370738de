"""The shop of the look-up bench: its events, their flow, and what engage takes for one.

As a program: ``python -m benchmarks.engaging KAFKA USERS EVENTS_PER_S`` writes events until it
is ended.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from kafka import KafkaProducer

from schemas import clock
from schemas.events import Event, encode_event
from schemas.settings import Settings
from schemas.topics import EVENTS
from streams.agents.engage import Engage
from streams.agents.ports import Batch
from streams.authoring.load import load_rulebook
from streams.authoring.plan import load_plan
from streams.core.engine import Engine
from streams.kafka_client.producing import partition_of

_NAMES: Final = ("product_viewed", "product_viewed", "cart_added", "product_viewed", "order_paid")
_USERS: Final = 5000
_EVENTS: Final = 10_000
_BATCH: Final = 500
_T0_MS: Final = 1_780_000_000_000


def event(number: int, user: int, at_ms: int = 0) -> Event:
    """Return an event of a user, who has an anonymous id as well."""
    at_ms = at_ms or _T0_MS + number * 10
    return Event(
        message_id=f"6f1c0a52-7d3b-4c1e-9a55-{number:012x}",
        type="track",
        event=_NAMES[number % len(_NAMES)],
        user=f"user_id:u{user}",
        source="app",
        door="segment",
        account="bench",
        timestamp_ms=at_ms,
        received_at_ms=at_ms,
        identities={"user_id": f"u{user}", "anonymous_id": f"a{user}"},
        context={"channel": "douyin"},
        properties={
            "sku": f"s{number % 300}",
            "category": f"c{number % 9}",
            "amount": 99.5,
            "cart_id": f"k{number}",
            "order_id": f"o{number}",
        },
    )


class _Record:
    """What engage uses of a record."""

    def __init__(self, offset: int, one: Event) -> None:
        self.offset, self.key, self.value = offset, one.user.encode(), encode_event(one)
        self.timestamp, self.headers = one.received_at_ms, list[tuple[str, bytes]]()


class _Lane:
    """A lane without a broker: a dict of states; what goes out is counted."""

    partition = 0

    watermark_ms = 0

    def __init__(self) -> None:
        self._states: dict[bytes, tuple[bytes, int]] = {}
        self.bytes_out = self.watermark_ms = 0

    def get(self, key: bytes, /) -> bytes | None:
        held = self._states.get(key)
        return held[0] if held else None

    def offset(self, key: bytes, /) -> int:
        held = self._states.get(key)
        return held[1] if held else -1

    def put(self, key: bytes, packed: bytes, *, offset: int, timer_ms: int | None = None) -> None:
        del timer_ms
        self._states[key] = packed, offset

    def emit(self, topic: str, key: bytes | None, value: bytes, **_: Any) -> None:  # noqa: ANN401
        del topic, key
        self.bytes_out += len(value)

    def emit_at_once(self, topic: str, key: bytes, value: bytes, *, partition: int) -> None:
        self.emit(topic, key, value, partition=partition)

    def advance(self, received_at_ms: int) -> None:
        self.watermark_ms = max(self.watermark_ms, received_at_ms)


def cost_us(*, origins: bool, profiles: bool, rounds: int) -> list[float]:
    """Return the CPU microseconds of an event in engage, batch by batch, without a broker."""
    settings = Settings()
    engine = Engine(load_rulebook(settings.rulebook, load_plan(settings.plan)))
    records = [_Record(n, event(n, n * 7919 % _USERS)) for n in range(_EVENTS)]
    took = []
    for _ in range(rounds):
        engage, lane = Engage(engine, origins=origins, profiles=profiles), _Lane()
        gc.collect()
        began_s = time.process_time()
        for start in range(0, _EVENTS, _BATCH):
            engage.process(lane, Batch(EVENTS.name, 0, list(records[start : start + _BATCH]), None))
        took.append((time.process_time() - began_s) / _EVENTS * 1e6)
    return took


async def _flow(kafka: str, users: int, per_s: int) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka, linger_ms=5)
    partitions = len(producer.partitions_for(EVENTS.name))
    began_s, number = time.monotonic(), 0
    while True:
        for _ in range(max(1, per_s // 50)):
            number += 1
            now_ms = clock.now_ms()
            # The id says where a run began: those of another are no duplicates.
            one = event(time.time_ns() & 0xFFFFFFFFFFFF, number * 7919 % users, now_ms)
            key = one.user.encode()
            producer.send(
                EVENTS.name, encode_event(one), key, partition=partition_of(key, partitions)
            )
        await asyncio.sleep(max(0.0, began_s + number / per_s - time.monotonic()))


def main(argv: Sequence[str]) -> None:
    """Write events until the process is ended."""
    kafka, users, per_s = argv
    asyncio.run(_flow(kafka, int(users), int(per_s)))


if __name__ == "__main__":
    main(sys.argv[1:])
