import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.faults.conftest import SpareBroker

pytestmark = [pytest.mark.faults, pytest.mark.integration]

TOPIC, PRODUCERS, FREEZES = "markers", 12, 3
# The more partitions a broker has, the longer its change of leaders takes.
OTHERS = 300
# Longer than the embedded broker's session: its partitions lose their leader as it wakes.
FROZEN_S = 4.0


async def commit_until(stop: asyncio.Event, kafka: str, number: int) -> int:
    """Commit one record after another to a partition of its own; return how many were acked."""
    async with AIOKafkaProducer(
        bootstrap_servers=kafka, transactional_id=f"{TOPIC}-{number}", request_timeout_ms=60_000
    ) as producer:
        acked = 0
        while not stop.is_set():
            async with producer.transaction():
                await producer.send(TOPIC, str(acked).encode(), partition=number)
            acked += 1
        return acked


async def committed(kafka: str) -> dict[int, int]:
    """Return how many records a reader of committed data finds in each partition."""
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka, isolation_level="read_committed", fetch_max_wait_ms=50
    ) as consumer:
        tps = [TopicPartition(TOPIC, number) for number in range(PRODUCERS)]
        consumer.assign(tps)
        await consumer.seek_to_beginning()
        found = dict.fromkeys(range(PRODUCERS), 0)
        while fetched := await consumer.getmany(timeout_ms=2000):
            for tp, records in fetched.items():
                found[tp.partition] += len(records)
        return found


def test_what_a_frozen_broker_has_acked_is_committed_when_it_wakes(spare: SpareBroker) -> None:
    admin = KafkaAdminClient(bootstrap_servers=spare.address)
    admin.create_topics([NewTopic(TOPIC, PRODUCERS, 1), NewTopic(f"{TOPIC}-others", OTHERS, 1)])
    admin.close()

    async def scenario() -> None:
        total = dict.fromkeys(range(PRODUCERS), 0)
        for _ in range(FREEZES):
            stop = asyncio.Event()
            tasks = [
                asyncio.create_task(commit_until(stop, spare.address, number))
                for number in range(PRODUCERS)
            ]
            await asyncio.sleep(2)
            spare.freeze()
            try:
                await asyncio.sleep(FROZEN_S)
                # What is in flight is the last: a later transaction would end a lost one, too.
                stop.set()
            finally:
                spare.thaw()
            for number, acked in enumerate(await asyncio.gather(*tasks)):
                total[number] += acked
            assert await committed(spare.address) == total
        assert sum(total.values()) > PRODUCERS

    asyncio.run(scenario())
