"""`siyu deliver`: reads touches, calls their channels, writes what became of each."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Final

import aiohttp
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError, KafkaError

from schemas import topics
from schemas.errors import BrokerUnavailable, PartMissing, no_broker
from schemas.settings import Settings
from schemas.signals import on_stop_signals
from sinks.touches.channels import open_channels
from sinks.touches.journal import GROUP, CommitOffset
from sinks.touches.lane import DeliveryLane
from streams.kafka_client.offset_fetch import mend_offset_fetch

_POLL_MS: Final = 50
_REBALANCE_S: Final = 60.0
_LEAVE_S: Final = 10.0
_log = structlog.get_logger("siyu.deliver")


def run(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT; raises SiyuError where a supervisor must restart."""
    mend_offset_fetch()
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    on_stop_signals(stop.set)
    timeout_s = settings.deliver_timeout_s
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=settings.deliver_concurrency),
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=timeout_s * 0.8),
    ) as session:
        deliver = _Deliver(settings, session)
        try:
            await deliver.start()
            serving = asyncio.create_task(deliver.serve())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # Cancelled, not asked: with the broker away its poll may never return.
            serving.cancel()
            stopping.cancel()
            with suppress(asyncio.CancelledError):
                await serving
        finally:
            await deliver.close()


class _Deliver(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """The process: one consumer in the group, and a lane for each partition it is given."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._channels = open_channels(settings, session)
        self._lanes: dict[DeliveryLane, asyncio.Task[None]] = {}
        self._placed: set[DeliveryLane] = set()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka,
            group_id=GROUP,
            client_id=GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            session_timeout_ms=int(settings.worker_session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.worker_session_timeout_s * 1000 / 4),
            # Long enough to end the running calls of a partition that is given away.
            rebalance_timeout_ms=int(_REBALANCE_S * 1000),
        )

    async def start(self) -> None:
        """Join the group; PartMissing if the broker or a topic is not there."""
        try:
            await self._consumer.start()
            present = await self._consumer.topics()
        except KafkaConnectionError as down:
            raise no_broker(self._settings.kafka, down) from down
        needed = (topics.TOUCHES, topics.LEDGER, topics.RECEIPTS, topics.REJECTED)
        missing = sorted(topic.name for topic in needed if topic.name not in present)
        if missing:
            problem = "no topic " + ", ".join(missing)
            raise PartMissing("Kafka", problem, remedy="create the topics: siyu up")
        self._consumer.subscribe([topics.TOUCHES.name], listener=self)

    async def serve(self) -> None:
        """Hand records to the lanes until cancelled; a lane's failure is raised here."""
        while True:
            try:
                batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=1000)
            except KafkaError as error:
                raise BrokerUnavailable(topics.TOUCHES.name, repr(error)) from error
            for tp, records in batches.items():
                for lane in self._lanes:
                    if lane.partition == tp.partition and lane in self._placed:
                        lane.accept(records)
            for lane, task in list(self._lanes.items()):
                if task.done() and not task.cancelled():
                    task.result()
                await self._steer(lane)

    async def _steer(self, lane: DeliveryLane) -> None:
        """Place a lane that has become ready at its offset; hold back one that is full."""
        tp = _input(lane.partition)
        try:
            if lane.ready and lane not in self._placed:
                # Read after the fence. Should it be an older one, the ledger skips the rest.
                offset = await self._consumer.committed(tp)
                if offset is None:
                    offset = (await self._consumer.beginning_offsets([tp]))[tp]
                self._consumer.seek(tp, offset)
                self._placed.add(lane)
            if lane.has_room:
                self._consumer.resume(tp)
            else:
                self._consumer.pause(tp)
        except IllegalStateError:
            # The partition was taken away meanwhile; its lane is being stopped.
            return
        except KafkaError as error:
            raise BrokerUnavailable(topics.TOUCHES.name, repr(error)) from error

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """End the running calls and write their receipts before a successor starts."""
        await self._drain({tp.partition for tp in revoked})

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Open a lane for each partition; its records wait until its ledger is restored."""
        self._consumer.pause(*assigned)
        for tp in sorted(assigned):
            lane = DeliveryLane(
                self._settings, tp.partition, self._channels, self._offset_commit(tp)
            )
            self._lanes[lane] = asyncio.create_task(lane.run(), name=f"lane-{tp.partition}")

    def _offset_commit(self, tp: TopicPartition) -> CommitOffset:
        async def commit(offset: int) -> None:
            try:
                await self._consumer.commit({tp: offset})
            except (CommitFailedError, IllegalStateError):
                # The partition moved on: its new owner reads again, and its ledger knows.
                _log.info("offset left to the new owner", partition=tp.partition)

        return commit

    async def _drain(self, partitions: set[int]) -> None:
        leaving = {lane: t for lane, t in self._lanes.items() if lane.partition in partitions}
        for lane, task in leaving.items():
            lane.stop()
            if not lane.ready:
                task.cancel()
        if leaving:
            grace_s = self._settings.deliver_timeout_s + 10
            _, late = await asyncio.wait(leaving.values(), timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                # Announced in the ledger, so the next owner resolves them.
                _log.warning("calls left to the next owner", partitions=sorted(partitions))
        for lane, task in leaving.items():
            self._forget(lane, task)

    def _forget(self, lane: DeliveryLane, task: asyncio.Task[None]) -> None:
        del self._lanes[lane]
        self._placed.discard(lane)
        if task.done() and not task.cancelled() and (error := task.exception()):
            _log.error("partition ended badly", partition=lane.partition, error=str(error))

    async def close(self) -> None:
        """Drain what is left and leave the group, so that a successor need not wait."""
        await self._drain({lane.partition for lane in self._lanes})
        # A task of its own: with the broker away, aiokafka's stop ends in a CancelledError.
        leaving = asyncio.create_task(self._consumer.stop())
        await asyncio.wait({leaving}, timeout=_LEAVE_S)
        if not leaving.done() or leaving.cancelled() or leaving.exception():
            _log.warning("the group was not told; a successor waits for the session to end")
            leaving.cancel()


def _input(partition: int) -> TopicPartition:
    return TopicPartition(topics.TOUCHES.name, partition)
