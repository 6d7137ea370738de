"""Topics of a bench: made, filled, read and, whatever happens, deleted."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from schemas.errors import no_broker
from schemas.settings import Settings
from streams.kafka_client.producing import partition_of
from streams.runtime.lanes.producers import Unaddressed, new_producer, send_all

_CHUNK: Final = 20_000
Progress = Callable[[int], None]


class Broker:
    """The broker of one bench run; all its topics and groups start with *prefix*."""

    def __init__(self, settings: Settings, prefix: str) -> None:
        self.settings, self.prefix = settings, prefix
        try:
            self._admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
        except KafkaError as down:
            raise no_broker(settings.kafka, down) from down

    def make(self, topic: str, partitions: int, **config: str) -> None:
        """Create a topic."""
        configs = {name.replace("_", "."): value for name, value in config.items()}
        self._admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])

    def wipe(self, prefix: str) -> None:
        """Delete all topics whose name holds *prefix*: engines make some of their own."""
        with contextlib.suppress(KafkaError):
            found = [name for name in self._admin.list_topics() if prefix in name]
            if found:
                self._admin.delete_topics(found)

    def close(self) -> None:
        """Delete what the run left."""
        self.wipe(self.prefix)
        self._admin.close()

    def fill(
        self, topic: str, partitions: int, records: Iterable[tuple[bytes, bytes]], told: Progress
    ) -> None:
        """Produce keyed records in order, with the batch builder."""
        asyncio.run(self._fill(topic, partitions, records, told))

    async def _fill(
        self, topic: str, partitions: int, records: Iterable[tuple[bytes, bytes]], told: Progress
    ) -> None:
        async with new_producer(self.settings, transactional_id=None) as producer:
            for chunk in _chunks(partitions, records):
                parts = enumerate(chunk)
                await asyncio.gather(*(send_all(producer, topic, p, part) for p, part in parts))
                told(sum(map(len, chunk)))

    def send_one(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        """Produce one record into a partition."""
        asyncio.run(self._send(topic, partition, [(key, value, [])]))

    async def _send(self, topic: str, partition: int, records: list[Unaddressed]) -> None:
        async with new_producer(self.settings, transactional_id=None) as producer:
            await send_all(producer, topic, partition, records)

    def read(self, topic: str) -> list[tuple[bytes, bytes | None]]:
        """Return (key, value) of all that is committed in a topic, in order by partition."""
        partitions = self._admin.describe_topics([topic])[0]["partitions"]
        tps = [TopicPartition(topic, partition["partition_index"]) for partition in partitions]
        return asyncio.run(self._read(tps))

    async def _read(self, tps: list[TopicPartition]) -> list[tuple[bytes, bytes | None]]:
        found: list[tuple[bytes, bytes | None]] = []
        async with AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka,
            isolation_level="read_committed",
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=8 * 1024 * 1024,
        ) as consumer:
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [(record.key, record.value) for record in records]
        return found


def _chunks(
    partitions: int, records: Iterable[tuple[bytes, bytes]]
) -> Iterator[list[list[Unaddressed]]]:
    parts: list[list[Unaddressed]] = [[] for _ in range(partitions)]
    for i, (key, value) in enumerate(records, 1):
        parts[partition_of(key, partitions)].append((key, value, []))
        if i % _CHUNK == 0:
            yield parts
            parts = [[] for _ in range(partitions)]
    if any(parts):
        yield parts
