"""Topics read whole: the committed records that they hold now."""

from collections.abc import AsyncIterator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.errors import PartMissing, no_broker
from schemas.settings import Settings
from schemas.topics import Topic

_FETCH_MS: Final = 500


async def read_topic(settings: Settings, topic: Topic) -> AsyncIterator[Any]:
    """Yield the committed records that a topic holds now; raises ``PartMissing``."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=settings.isolation_level,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        fetch_max_wait_ms=50,
    )
    try:
        await start(consumer, settings)
        tps = await partitions_of(settings, [topic.name])
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning(*tps)
        for tp in tps:
            consumer.pause(*tps)
            consumer.resume(tp)
            while await consumer.position(tp) < ends[tp]:
                fetched = await consumer.getmany(tp, timeout_ms=_FETCH_MS)
                for record in fetched.get(tp, ()):
                    if record.offset < ends[tp]:
                        yield record
    finally:
        await consumer.stop()


async def partitions_of(settings: Settings, topics: list[str]) -> list[TopicPartition]:
    """Return the partitions of topics; raises ``PartMissing`` if one is not there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await start(admin, settings)
        described = await admin.describe_topics(topics)
    finally:
        await admin.close()
    tps = [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        for partition in topic["partitions"]
    ]
    for missing in set(topics) - {tp.topic for tp in tps}:
        raise PartMissing("kafka", f"no topic {missing}", remedy="run `siyu migrate`")
    return sorted(tps)


async def start(client: Any, settings: Settings) -> None:  # noqa: ANN401 - aiokafka is untyped
    """Start a client of the broker; raises ``PartMissing`` where it does not answer."""
    try:
        await client.start()
    except KafkaError as down:
        raise no_broker(settings.kafka, down) from down
