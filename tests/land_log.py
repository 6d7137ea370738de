"""The topics that land, and what is logged to them in transactions."""

import asyncio
import random

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas import topics
from sinks.clickhouse.tables import BY_TOPIC

PARTITIONS = 2
Message = tuple[str, bytes, int | None]


async def make_topics(kafka: str) -> None:
    """Make the topics that land."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        # Some tests log records of other months: retention must leave them to be compared.
        keep = {"retention.ms": "-1"}
        await admin.create_topics(
            [
                NewTopic(topic.name, PARTITIONS, 1, topic_configs=topic.broker_config() | keep)
                for topic in topics.ALL
                if topic.name in BY_TOPIC
            ]
        )
    finally:
        await admin.close()


async def log_records(kafka: str, messages: list[Message], abort_share: float) -> None:
    """Write records in transactions, some of which abort after other records went out."""
    chance = random.Random(len(messages))
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id="land-harness")
    await producer.start()
    try:
        for start in range(0, len(messages), 200):
            some = messages[start : start + 200]
            if chance.random() < abort_share:
                await producer.begin_transaction()
                await _send(producer, some, chance)
                await producer.abort_transaction()
            async with producer.transaction():
                await _send(producer, some, chance)
    finally:
        await producer.stop()


async def _send(producer: AIOKafkaProducer, messages: list[Message], chance: random.Random) -> None:
    acks = [
        await producer.send(
            topic, value, partition=chance.randrange(PARTITIONS), timestamp_ms=logged_ms
        )
        for topic, value, logged_ms in messages
    ]
    await asyncio.gather(*acks)
