"""The six topics that show what became of an event, read as they grow."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from schemas import clock
from schemas.settings import Settings
from streams.commands.tail.follow import DECODERS, Follower, Wanted
from streams.runtime.topics import partitions_of, start

_POLL_MS: Final = 200


async def follow(
    settings: Settings, wanted: Wanted, *, ago_ms: int = 0
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield what is wanted as it comes, committed records only; raises ``PartMissing``."""
    follower = Follower(wanted)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        isolation_level=settings.isolation_level,
        fetch_max_wait_ms=100,
    )
    try:
        await start(consumer, settings)
        await _seek(settings, consumer, ago_ms)
        while True:
            fetched = await consumer.getmany(timeout_ms=_POLL_MS)
            records = [record for batch in fetched.values() for record in batch]
            # Partitions come one after the other: this is nearer to what happened.
            for record in sorted(
                records, key=lambda record: (record.timestamp, _rank(record.topic))
            ):
                for line in follower.lines(record.topic, record.value or b"", record.timestamp):
                    yield line
    finally:
        await consumer.stop()


async def _seek(settings: Settings, consumer: Any, ago_ms: int) -> None:  # noqa: ANN401 - aiokafka is untyped
    tps = await partitions_of(settings, list(DECODERS))
    consumer.assign(tps)
    await consumer.seek_to_end(*tps)
    if ago_ms:
        from_ms = clock.now_ms() - ago_ms
        starts = await consumer.offsets_for_times(dict.fromkeys(tps, from_ms))
        for tp, position in starts.items():
            if position is not None:
                consumer.seek(tp, position.offset)
    # Positions are looked up lazily: what comes after this line is to be shown.
    for tp in tps:
        await consumer.position(tp)


def _rank(topic: str) -> int:
    return list(DECODERS).index(topic)
