"""The lander's process: a consumer group whose partitions each have a lane into ClickHouse.

It keeps polling whatever ClickHouse does, pauses what is full, and leaves nothing behind
that the next owner of a partition could not finish: see ``lane`` for the order of steps.
"""

import asyncio
import gc
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog
from aiokafka import (
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    OffsetAndMetadata,
    TopicPartition,
)
from aiokafka.errors import (
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from schemas.settings import Settings
from schemas.signals import on_stop_signals
from sinks.clickhouse.lane import LandingLane
from sinks.clickhouse.plan import LandingPlan, from_metadata, to_metadata
from sinks.clickhouse.tables import BY_TOPIC
from sinks.clickhouse.writer import Writer
from streams.kafka_client.group_commits import commit_in_generation, fetch_committed, membership_of
from streams.kafka_client.offset_fetch import mend_offset_fetch
from streams.kafka_client.raw_records import keep_raw_records

log = structlog.get_logger("siyu.land")
GROUP: Final = "siyu-land"
_THREADS: Final = 4
_POLL_MS: Final = 100
_GRACE_S: Final = 5.0
_GC_EVERY_S: Final = 30.0
_RETRY_S: Final = 1.0
_COMMIT_RETRY_S: Final = 0.1
_MOVED_ON: Final = (IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)
# Over all lanes: records held in memory while ClickHouse is away or slow.
_MAX_BUFFERED_BYTES: Final = 128 * 1024 * 1024


class PartitionLost(Exception):
    """The group gave the partition to somebody else: drop the lane, a rejoin follows."""


class GroupLedger:
    """The committed offset of one partition, valid for one generation of the group."""

    def __init__(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> None:
        self._consumer, self._tp = consumer, tp
        self._membership = membership_of(consumer)

    async def open_plan(self) -> LandingPlan | None:
        """Return the plan that a predecessor left open."""
        committed = await fetch_committed(self._consumer, self._tp)
        return from_metadata(committed.metadata) if committed else None

    async def commit(self, offset: int, plan: LandingPlan | None) -> None:
        """Commit ``offset``; raises ``PartitionLost`` if the group has moved on."""
        commit = OffsetAndMetadata(offset, to_metadata(plan))
        while True:
            try:
                await commit_in_generation(
                    self._consumer, self._tp, commit, **self._membership._asdict()
                )
            except _MOVED_ON as lost:
                raise PartitionLost(self._tp) from lost
            except KafkaError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(_COMMIT_RETRY_S)
            else:
                return


class Lander(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """Feeds the lanes of the assigned partitions and keeps their number right."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._writer = Writer(settings)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="land")
        self._lanes: dict[TopicPartition, LandingLane] = {}
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._paused: set[TopicPartition] = set()
        self._joined = False
        self._tidied_s = time.monotonic()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka,
            group_id=GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level=settings.isolation_level,
            max_partition_fetch_bytes=2 * 1024 * 1024,
            metadata_max_age_ms=10_000,
        )

    async def work(self, *, once: bool) -> None:
        """Land until cancelled; with ``once``, until the ends of the logs as they are now."""
        await self._start()
        ends: dict[TopicPartition, int] = {}
        while True:
            batches = await self._poll()
            for tp, records in batches.items():
                self._feed(tp, records)
            self._regulate()
            self._reap()
            self._tidy()
            if once and await self._reached(ends):
                return

    async def stop(self) -> None:
        """End the blocks in hand, leave the group, close."""
        await self._close_lanes()
        await self._consumer.stop()
        # An insert that outlives the grace must not hold up the exit: its plan is committed.
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._writer.close()
        log.info("land.stopped")

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let the blocks in hand end (aiokafka waits for this), then drop the lanes."""
        del revoked  # the protocol is eager: all of them go
        await self._close_lanes()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Open a lane for each partition."""
        self._joined = True
        for tp in sorted(assigned):
            a_record = BY_TOPIC[tp.topic].rows_a_record
            lane = self._lanes[tp] = LandingLane(
                tp.topic,
                tp.partition,
                GroupLedger(self._consumer, tp),
                self._writer,
                partial(asyncio.get_running_loop().run_in_executor, self._threads),
                max_rows=max(1, self._settings.land_max_rows // a_record),
                max_delay_s=self._settings.land_max_delay_ms / 1000,
            )
            self._tasks[tp] = asyncio.create_task(
                lane.run(), name=f"lane {tp.topic}:{tp.partition}"
            )
        log.info("land.assigned", partitions=len(self._lanes))

    async def _start(self) -> None:
        while True:
            try:
                await self._consumer.start()
            except KafkaError as away:
                log.warning("land.broker_away", problem=str(away), retry_in_s=_RETRY_S)
                await asyncio.sleep(_RETRY_S)
            else:
                break
        keep_raw_records(self._consumer)
        self._consumer.subscribe(topics=sorted(BY_TOPIC), listener=self)

    async def _poll(self) -> dict[TopicPartition, Any]:
        try:
            batches: dict[TopicPartition, Any] = await self._consumer.getmany(
                timeout_ms=_POLL_MS, max_records=self._settings.land_max_rows
            )
        except KafkaError as error:
            if not error.retriable:
                raise
            log.warning("land.broker_away", problem=str(error), retry_in_s=_RETRY_S)
            await asyncio.sleep(_RETRY_S)
            return {}
        return batches

    def _feed(self, tp: TopicPartition, records: Any) -> None:  # noqa: ANN401 - aiokafka is untyped
        if tp in self._lanes:
            self._lanes[tp].feed(records, to_come=self._to_come(tp, records[-1].offset))
        elif tp in self._consumer.assignment():
            # Fetched before its lane was there, or after it was lost: have it fetched again.
            self._consumer.seek(tp, records[0].offset)
            self._consumer.pause(tp)
            self._paused.add(tp)

    def _to_come(self, tp: TopicPartition, offset: int) -> int:
        """Return how many offsets after one were on the log at the last fetch."""
        if tp not in self._consumer.assignment():
            return 0
        # Without transactions there is no last stable offset, or it is -1.
        end = max(self._consumer.last_stable_offset(tp) or 0, self._consumer.highwater(tp) or 0)
        return max(0, end - offset - 1)

    def _regulate(self) -> None:
        """Pause the partitions whose lanes hold enough; go on with those that have drained."""
        tight = sum(lane.buffered_bytes for lane in self._lanes.values()) > _MAX_BUFFERED_BYTES
        if tight:
            for lane in self._lanes.values():
                lane.hurry()
        full = {
            tp
            for tp, lane in self._lanes.items()
            if lane.full or (tight and lane.buffered_bytes and not lane.owes)
        }
        mine = self._consumer.assignment() & self._lanes.keys()
        self._consumer.pause(*((full - self._paused) & mine))
        self._consumer.resume(*((self._paused - full) & mine))
        self._paused = (full & mine) | (self._paused - self._lanes.keys())

    def _reap(self) -> None:
        for tp, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[tp], self._lanes[tp]
                with suppress(asyncio.CancelledError):
                    if isinstance(task.exception(), PartitionLost):
                        log.warning("land.partition_lost", topic=tp.topic, partition=tp.partition)
                    else:
                        task.result()

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied_s > _GC_EVERY_S:
            gc.collect()
            self._tidied_s = time.monotonic()

    async def _close_lanes(self) -> None:
        tasks = list(self._tasks.values())
        for lane in self._lanes.values():
            lane.leave()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes.clear()
        self._tasks.clear()
        self._paused.clear()

    async def _reached(self, ends: dict[TopicPartition, int]) -> bool:
        if not self._joined:
            return False
        if new := self._lanes.keys() - ends.keys():
            ends |= await self._consumer.end_offsets(list(new))
        for tp, lane in list(self._lanes.items()):
            if not lane.idle:
                return False
            try:
                position = await asyncio.wait_for(self._consumer.position(tp), _RETRY_S)
            except (TimeoutError, IllegalStateError):
                return False
            if position < ends[tp]:
                return False
        return True


def run(settings: Settings, *, once: bool = False) -> None:
    """Land until SIGTERM or SIGINT; with ``once``, until all that is on the log now has landed.

    Needs the tables of ``migrate`` and the topics; waits for either, and for the broker
    and ClickHouse whenever they are away. Ends by an exception only for a fault that
    waiting does not heal (authorization, say): nothing is lost by starting it again.
    """
    mend_offset_fetch()
    # Blocks are hundreds of thousands of objects without a circle, alive for seconds: to look for
    # circles among them as often as Python does costs a quarter of all time.
    gc.freeze()
    gc.disable()
    asyncio.run(_run(settings, once=once))


async def _run(settings: Settings, *, once: bool) -> None:
    lander = Lander(settings)
    work = asyncio.create_task(lander.work(once=once))
    on_stop_signals(work.cancel)
    log.info("land.started", kafka=settings.kafka, once=once)
    try:
        with suppress(asyncio.CancelledError):
            await work
    finally:
        await lander.stop()
