"""Shards that no lane has: kept for a partition that comes back, or followed as standbys.

With ``worker_standby`` every worker follows the changelog of each partition that it does
not own, so that a take-over has only the last moments to read.
"""

import asyncio
import contextlib

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.settings import Settings, home
from streams.kafka_client.cluster import fetch_partitions
from streams.runtime.state.shard import Shard
from streams.runtime.state.store import MemoryStore, RocksStore, Store

log = structlog.get_logger()

_RETRY_S = 1.0


class StandbyShards:
    """The shards of one state topic; each is here or on a lane, never on both."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._shards: dict[int, Shard] = {}
        self._on_lanes: set[int] = set()
        self._changed = asyncio.Event()
        # Locked while records are applied: a shard must not leave half-way.
        self._applying = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def take(self, partition: int) -> Shard:
        """Hand a shard to a lane, which restores the rest of the way."""
        async with self._applying:
            self._on_lanes.add(partition)
            shard = self._shards.pop(partition, None)
        self._changed.set()
        return shard or self._new_shard(partition)

    def put_back(self, shard: Shard) -> None:
        """Take a shard back from a lane that was closed."""
        self._on_lanes.discard(shard.partition)
        shard.forget_uncommitted()
        self._shards[shard.partition] = shard
        self._changed.set()

    def settle(self) -> None:
        """Follow or drop what is still here after an assignment: it belongs to others."""
        if self._settings.worker_standby:
            if self._task is None:
                self._task = asyncio.create_task(self._follow_forever(), name="standby")
            self._changed.set()
            return
        for shard in self._shards.values():
            shard.store.close()
        self._shards.clear()

    async def close(self) -> None:
        """Stop following and close the stores."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for shard in self._shards.values():
            shard.store.close()
        self._shards.clear()

    def _new_shard(self, partition: int) -> Shard:
        store: Store = MemoryStore()
        if self._settings.worker_store == "rocksdb":
            folder = home() / "state" / self._settings.worker_name
            store = RocksStore(folder / f"{self._topic}-{partition}")
        return Shard(self._topic, partition, store)

    async def _follow_forever(self) -> None:
        while True:
            try:
                async with AIOKafkaConsumer(
                    bootstrap_servers=self._settings.kafka,
                    isolation_level=self._settings.isolation_level,
                ) as consumer:
                    await self._follow(consumer)
            except KafkaError as problem:
                # A standby is a convenience: the owner of the partition reports the broker.
                log.warning("standby waits for the broker", problem=repr(problem))
                await asyncio.sleep(_RETRY_S)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        partitions = await fetch_partitions(consumer, self._topic)
        while True:
            self._changed.clear()
            for partition in partitions - self._on_lanes - self._shards.keys():
                self._shards[partition] = self._new_shard(partition)
            await self._assign(consumer)
            log.info("standby follows", topic=self._topic, partitions=sorted(self._shards))
            while not self._changed.is_set():
                await self._apply_next(consumer)

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        shards = {TopicPartition(self._topic, p): s for p, s in self._shards.items()}
        consumer.assign(list(shards))
        first = await consumer.beginning_offsets(list(shards)) if shards else {}
        for tp, shard in shards.items():
            consumer.seek(tp, max(first[tp], shard.store.position))

    async def _apply_next(self, consumer: AIOKafkaConsumer) -> None:
        if not self._shards:
            await self._changed.wait()
            return
        fetched = await consumer.getmany(timeout_ms=300, max_records=5000)
        async with self._applying:
            for tp, records in fetched.items():
                if tp.partition in self._shards:
                    self._shards[tp.partition].load(records, records[-1].offset + 1)
