"""One input partition of one agent: state, outputs, and the transaction that binds them.

While one transaction commits, the next batches are processed and their outputs
gather; so a transaction covers as much as came in meanwhile. Order inside it:
touches are acked first, then outputs and changed state go out together, then the input offset.
A second process that opens the same lane fences this one (same transactional id).
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from schemas.crash import crash_point
from schemas.errors import BrokerUnavailable, Fenced, SiyuError
from schemas.settings import Settings
from streams.agents.ports import Batch, Record
from streams.runtime.producers import Unaddressed, new_producer, partition_of, send_all
from streams.runtime.table import Shard, restore

log = structlog.get_logger()

_CLOSE_TIMEOUT_S: Final = 15.0
# Longer between two looks at a lane, and the process was stopped: what came meanwhile is unread.
_BLIND_S: Final = 1.0
_NO_HEADERS: Final[list[tuple[str, bytes]]] = []
CommitOffset = Callable[[int], Awaitable[None]]


class LostBatch(SiyuError):
    """The consumer skipped records of this partition: restart from the committed offset."""

    def __init__(self, topic: str, partition: int, expected: int, got: int) -> None:
        super().__init__(f"{topic}-{partition}: a batch between {expected} and {got} was lost")


class PartitionLane:
    """Implements ``streams.agents.ports.Lane`` on a transactional producer."""

    def __init__(
        self,
        settings: Settings,
        *,
        group: str,
        topic: str,
        partition: int,
        shard: Shard,
        outputs: Sequence[str],
        touches: AIOKafkaProducer,
        commit_every_s: float,
        commit_offset: CommitOffset,
        hears: Callable[[int], bool],
        on_failure: Callable[[BaseException], Awaitable[None]],
    ) -> None:
        self.topic, self.partition = topic, partition
        self.position = 0
        self.shard = shard
        self.opened = asyncio.Event()
        self.closing = False
        self._settings, self._group = settings, group
        self._touches, self._commit_offset, self._on_failure = touches, commit_offset, on_failure
        self._hears = hears
        self._output_topics = outputs
        self._id = f"{group}-{topic}-{partition}"
        # The shard's own methods: a hop for each event would cost more than they do.
        self.get, self.offset, self.applied = shard.get, shard.offset, shard.applied
        self._outputs: dict[tuple[str, int], list[Unaddressed]] = {}
        self._pending_outputs = 0
        self._acks: list[asyncio.Task[None]] = []
        self._offset: int | None = None
        self._wake, self._drained = asyncio.Event(), asyncio.Event()
        self._hurry = asyncio.Event()
        self._commit_every_s, self._committed_at_s = commit_every_s, 0.0
        self._failure: BaseException | None = None
        self._committing = False
        self._partitions: dict[str, int] = {}
        self.watermark_ms, self._last_input = 0, time.monotonic()
        self._looked_s = self._last_input
        self._task: asyncio.Task[None] | None = None

    # -- what agents call; no awaits between the calls of one batch ---------------

    def put(self, key: bytes, packed: bytes, *, offset: int, timer_ms: int | None = None) -> None:
        """Set the packed state of a key."""
        self.shard.put(key, packed, offset=offset, timer_ms=timer_ms)

    def emit(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Produce inside the transaction."""
        if partition is None:
            partition = partition_of(key or b"", self._partitions[topic])
        self._outputs.setdefault((topic, partition), []).append(
            (key, value, list(headers) if headers else _NO_HEADERS)
        )
        self._pending_outputs += 1

    def emit_at_once(self, topic: str, key: bytes, value: bytes, *, partition: int) -> None:
        """Produce as soon as the batch is processed, ahead of the transaction."""
        # The ack must be on the list before the committer can run again: a task does
        # that without an await here.
        send = self._touches.send_and_wait(topic, key=key, value=value, partition=partition)
        self._acks.append(asyncio.ensure_future(send))

    def advance(self, received_at_ms: int) -> None:
        """Note how far the input has come, by the clock of the collectors."""
        self.watermark_ms = max(self.watermark_ms, received_at_ms)

    # -- what the runtime calls ---------------------------------------------------

    def time_ms(self, wall_ms: int) -> int:
        """Return the lane's time: timers up to it may fire.

        While input flows this is the newest arrival that was processed, so that after
        an outage a timer waits for the events that would have cancelled it. On a lane
        that has been idle for the settle time, it is the wall clock; idle is only one that
        the broker answers for, in a process that looks: it is asked every few ms.
        """
        now_s = time.monotonic()
        if not self._hears(wall_ms) or now_s - self._looked_s > _BLIND_S:
            self._last_input = now_s
        self._looked_s = now_s
        idle_s = now_s - self._last_input
        idle = idle_s * 1000 >= self._settings.timer_settle_ms
        return wall_ms if idle else min(self.watermark_ms, wall_ms)

    def fresh(self, batch: Batch) -> list[Record]:
        """Return the records not processed yet; raises ``LostBatch`` on a hole."""
        if batch.follows is not None and batch.follows > self.position:
            raise LostBatch(self.topic, self.partition, self.position, batch.follows)
        if batch.records[0].offset >= self.position:
            return batch.records
        return [record for record in batch.records if record.offset >= self.position]

    async def processed(self, next_offset: int | None = None) -> None:
        """Hand over what was emitted; waits while too much is uncommitted."""
        if next_offset is not None:
            self.position = self._offset = max(self.position, next_offset)
            self._last_input = time.monotonic()
        self._wake.set()
        if 2 * self.pending > self._settings.worker_pending_records:
            self._hurry.set()
        while self.pending > self._settings.worker_pending_records and not self.closing:
            self._drained.clear()
            self._raise_failure()
            await self._drained.wait()
        self._raise_failure()

    async def all_committed(self) -> bool:
        """Return once all that was processed and emitted is committed; false if the lane closes."""
        while self._pending() or self._committing:
            self._raise_failure()
            if self.closing:
                return False
            self._drained.clear()
            self._wake.set()
            self._hurry.set()
            await self._drained.wait()
        self._raise_failure()
        return not self.closing

    async def open(self) -> None:
        """Fence the predecessor, restore the state, learn the committed offset."""
        transactional = self._id if self._settings.kafka_transactions else None
        self._producer = new_producer(self._settings, transactional_id=transactional)
        try:
            await self._producer.start()
            for topic in self._output_topics:
                self._partitions[topic] = len(await self._producer.partitions_for(topic))
            await self._restore()
            crash_point("worker.restored")
        # A broker that its controller has shut out names no node, which aiokafka asserts.
        except (KafkaError, AssertionError) as problem:
            raise BrokerUnavailable(self._id, f"cannot open: {problem!r}") from problem
        self._last_input = time.monotonic()
        self._task = asyncio.create_task(self._commit_forever(), name=self._id)
        self.opened.set()

    async def close(self) -> None:
        """Commit what was processed, then let go of the partition."""
        self.closing = True
        self._wake.set()
        self._hurry.set()
        self._drained.set()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(self._task, _CLOSE_TIMEOUT_S)
        if hasattr(self, "_producer"):
            with contextlib.suppress(KafkaError):
                await self._producer.stop()
        self.opened.set()

    async def fail(self, failure: BaseException, cause: BaseException | None = None) -> None:
        """End the lane: what a failed batch left is half of it, so nothing more is committed."""
        failure.__cause__ = cause or failure.__cause__
        self._failure = self._failure or failure
        self._drained.set()
        self._wake.set()
        await self._on_failure(failure)

    @property
    def pending(self) -> int:
        """Outputs, touches and changed keys that are in no transaction yet."""
        return self._pending_outputs + len(self._acks) + self.shard.dirty

    async def _restore(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            group_id=self._group,
            enable_auto_commit=False,
            isolation_level=self._settings.isolation_level,
            max_partition_fetch_bytes=8 * 1024 * 1024,
            fetch_max_wait_ms=50,
        )
        await consumer.start()
        try:
            await restore(self.shard, consumer)
            committed = await consumer.committed(TopicPartition(self.topic, self.partition))
            self.position = committed or 0
        finally:
            await consumer.stop()

    async def _commit_forever(self) -> None:
        try:
            while self._failure is None and not (self.closing and not self._pending()):
                await self._wake.wait()
                await self._pace()
                self._wake.clear()
                if self._pending() and self._failure is None:
                    self._committing = True
                    await self._commit()
                    self._committing = False
                self._drained.set()
        except ProducerFenced as fenced:
            await self.fail(Fenced(self._id), fenced)
        except KafkaError as problem:
            await self.fail(BrokerUnavailable(self._id, f"commit failed: {problem!r}"), problem)
        except Exception as fault:  # noqa: BLE001 - whatever it is, nothing may be committed past it
            await self.fail(fault)

    async def _pace(self) -> None:
        # Under load a key that changes again within the interval is written once for all.
        self._hurry.clear()
        left_s = self._committed_at_s + self._commit_every_s - time.monotonic()
        if left_s > 0 and not self.closing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), left_s)
        self._committed_at_s = time.monotonic()

    def _pending(self) -> bool:
        return bool(self.pending or self._offset is not None)

    async def _commit(self) -> None:
        outputs, self._outputs, self._pending_outputs = self._outputs, {}, 0
        acks, self._acks = self._acks, []
        offset, self._offset = self._offset, None
        state = self.shard.begin_commit()
        for ack in acks:
            await ack
        if acks:
            crash_point("worker.touches_out")
        crash_point("worker.after_touches")
        if self._settings.kafka_transactions:
            await self._producer.begin_transaction()
            # At once, since none counts before the transaction does: each wait for the broker
            # that is saved is saved for every event. Not the offset: while the coordinator
            # adds it, the broker refuses outputs that it must verify there.
            _, behind = await asyncio.gather(self._send_outputs(outputs), self._send_state(state))
            await self._send_offset(offset)
            await self._producer.commit_transaction()
        else:
            await self._send_outputs(outputs)
            behind = await self._send_state(state)
            if offset is not None:
                await self._commit_offset(offset)
        crash_point("worker.after_commit")
        self.shard.end_commit(behind)

    async def _send_outputs(self, outputs: dict[tuple[str, int], list[Unaddressed]]) -> None:
        await asyncio.gather(
            *(send_all(self._producer, *to, records) for to, records in outputs.items())
        )
        crash_point("worker.after_outputs")

    async def _send_state(self, state: dict[bytes, bytes]) -> int:
        changelog = ((key, value, _NO_HEADERS) for key, value in state.items())
        behind = await send_all(self._producer, self.shard.name, self.partition, changelog)
        crash_point("worker.after_state")
        return behind

    async def _send_offset(self, offset: int | None) -> None:
        if offset is not None:
            at = {TopicPartition(self.topic, self.partition): offset}
            await self._producer.send_offsets_to_transaction(at, self._group)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
