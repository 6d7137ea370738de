"""A lander as one writes it first: python -m benchmarks.on_land_rows, settings as for `siyu land`.

Each record becomes a tuple, a list of tuples one INSERT, and offsets are committed afterwards:
what was inserted before a crash is inserted again.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer

from schemas.events import decode_event
from schemas.settings import Settings
from sinks.clickhouse.client import connect
from sinks.clickhouse.tables import EVENTS

_ROWS: Final = 50_000


def row(record: Any) -> tuple[Any, ...]:  # noqa: ANN401 - aiokafka is untyped
    """Return a record as the row of `events`."""
    one = decode_event(record.value)
    return (
        one.message_id,
        one.type,
        one.event,
        one.user,
        one.source,
        one.door,
        one.account,
        _time(one.timestamp_ms),
        _time(one.received_at_ms),
        _time(one.original_timestamp_ms or 0),
        _time(one.sent_at_ms or 0),
        one.user_id or "",
        one.anonymous_id or "",
        one.identities,
        *(msgspec.json.encode(part).decode() for part in (one.context, one.properties, one.traits)),
        one.marks,
        one.raw_partition,
        one.raw_offset,
        record.partition,
        record.offset,
        _time(record.timestamp),
    )


def _time(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


async def main() -> None:
    """Land until killed."""
    settings = Settings()
    client = connect(settings.clickhouse)
    consumer = AIOKafkaConsumer(
        EVENTS.topic,
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        group_id=settings.clickhouse.rpartition("/")[2],
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=2 * 1024 * 1024,
    )
    await consumer.start()
    rows: list[tuple[Any, ...]] = []
    while True:
        found = await consumer.getmany(timeout_ms=500, max_records=_ROWS)
        rows += [row(record) for records in found.values() for record in records]
        if rows and (len(rows) >= _ROWS or not found):
            await asyncio.to_thread(client.execute, EVENTS.insert_sql(), rows)
            await consumer.commit()
            rows = []


if __name__ == "__main__":
    asyncio.run(main())
