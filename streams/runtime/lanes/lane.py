"""One input partition of one agent: its state, and what it did since its last transaction.

Agents work on a lane batch by batch; the lanes of an agent commit together (``committer``).
A second process that opens the same lane fences whoever committed it before.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.crash import crash_point
from schemas.errors import BrokerUnavailable, SiyuError
from schemas.settings import Settings
from streams.agents.ports import Batch, Record
from streams.kafka_client.producing import partition_of
from streams.runtime.lanes.committer import Committed, Work
from streams.runtime.lanes.producers import NO_HEADERS, Unaddressed
from streams.runtime.state.shard import Shard, restore_shard

_CLOSE_TIMEOUT_S: Final = 15.0
# Sends records to a topic's partition ahead of the transaction; returns once they are acked.
Send = Callable[[str, int, list[Unaddressed]], Awaitable[int]]
# Longer between two looks at a lane, and the process was stopped: what came meanwhile is unread.
_BLIND_S: Final = 1.0


class LostBatch(SiyuError):
    """The consumer skipped records of this partition: restart from the committed offset."""

    def __init__(self, topic: str, partition: int, expected: int, got: int) -> None:
        super().__init__(f"{topic}-{partition}: a batch between {expected} and {got} was lost")


class Commits(Protocol):
    """The committer as one of its lanes sees it."""

    @property
    def partitions(self) -> Mapping[str, int]:
        """How many partitions each output topic has; filled when the committer has opened."""

    async def take_over(self, at: TopicPartition, reader: AIOKafkaConsumer) -> int:
        """Fence the owner of a partition and become it; return the offset to go on from."""

    def add(self, lane: Committed) -> None:
        """Commit what this lane does, too."""

    def discard(self, lane: Committed) -> None:
        """Commit nothing of this lane any more."""

    def wake(self, *, hurry: bool = False) -> None:
        """Commit when the interval since the last transaction is over, or at once."""

    async def fail(self, failure: BaseException) -> None:
        """Commit nothing more, of no lane."""


class PartitionLane:
    """Implements ``streams.agents.ports.Lane``; its committer makes it durable."""

    def __init__(
        self,
        settings: Settings,
        *,
        group: str,
        topic: str,
        partition: int,
        shard: Shard,
        committer: Commits,
        send: Send,
        is_readable: Callable[[int], bool],
    ) -> None:
        self.topic, self.partition = topic, partition
        self.position = 0
        self.shard, self.state_topic = shard, shard.name
        self.opened = asyncio.Event()
        self.closing = False
        self._settings, self._group = settings, group
        self._committer, self._send, self._is_readable = committer, send, is_readable
        self._name = f"{group}-{topic}-{partition}"
        # The shard's own methods: a hop for each event would cost more than they do.
        self.get, self.offset = shard.get, shard.offset
        self._outputs: dict[tuple[str, int], list[Unaddressed]] = {}
        self._pending_outputs = 0
        self._touched: dict[tuple[str, int], list[Unaddressed]] = {}
        self._sending: asyncio.Task[None] | None = None
        self._acks: list[asyncio.Task[None]] = []
        self._offset: int | None = None
        self._drained = asyncio.Event()
        self._failure: BaseException | None = None
        self._committing = False
        self._partitions = committer.partitions
        self.watermark_ms, self._last_input = 0, time.monotonic()
        self._looked_s = self._last_input

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
            (key, value, list(headers) if headers else NO_HEADERS)
        )
        self._pending_outputs += 1

    def emit_at_once(self, topic: str, key: bytes, value: bytes, *, partition: int) -> None:
        """Produce as soon as the batch is processed, ahead of the transaction."""
        self._touched.setdefault((topic, partition), []).append((key, value, NO_HEADERS))
        self._pending_outputs += 1

    def advance(self, received_at_ms: int) -> None:
        """Note how far the input has come, by the clock of the collectors."""
        self.watermark_ms = max(self.watermark_ms, received_at_ms)

    # -- what the runtime calls ---------------------------------------------------

    def advance_clock(self, wall_ms: int) -> int:
        """Look at the lane, and return its time: timers up to it may fire.

        While input flows this is the newest arrival that was processed, so that after
        an outage a timer waits for the events that would have cancelled it. On a lane
        that has been idle for the settle time, it is the wall clock; idle is only one that
        the broker answers for, in a process that looks: it is asked every few ms.
        """
        now_s = time.monotonic()
        if not self._is_readable(wall_ms) or now_s - self._looked_s > _BLIND_S:
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
        if self._sending is None:
            self._send_touched()
        if next_offset is not None:
            self.position = self._offset = max(self.position, next_offset)
            self._last_input = time.monotonic()
        most = self._settings.worker_pending_records
        self._committer.wake(hurry=2 * self.pending > most)
        while self.pending > most and not self.closing:
            self._drained.clear()
            self._raise_failure()
            await self._drained.wait()
        self._raise_failure()

    def _send_touched(self) -> None:
        """Send what was emitted at once; what comes until it is acked goes together, after it."""
        if self._touched:
            # The ack is on the list before the committer can run again: no await here.
            self._sending = asyncio.create_task(self._send_each(self._touched))
            self._sending.add_done_callback(self._sent)
            self._acks.append(self._sending)
            self._touched = {}

    async def _send_each(self, touched: dict[tuple[str, int], list[Unaddressed]]) -> None:
        await asyncio.gather(*(self._send(*to, records) for to, records in touched.items()))

    def _sent(self, sending: asyncio.Task[None]) -> None:
        if self._sending is sending:
            self._sending = None
            if not sending.cancelled() and sending.exception() is None:
                self._send_touched()

    async def all_committed(self) -> bool:
        """Return once all that was processed and emitted is committed; false if the lane closes."""
        while not self.closing and self._uncommitted():
            await self._next_commit()
        self._raise_failure()
        return not self.closing

    async def open(self) -> None:
        """Fence the predecessor, learn the committed offset, restore the state."""
        reader = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            group_id=self._group,
            enable_auto_commit=False,
            isolation_level=self._settings.isolation_level,
            max_partition_fetch_bytes=8 * 1024 * 1024,
            fetch_max_wait_ms=50,
        )
        try:
            await reader.start()
            try:
                at = TopicPartition(self.topic, self.partition)
                self.position = await self._committer.take_over(at, reader)
                await restore_shard(self.shard, reader)
            finally:
                await reader.stop()
            crash_point("worker.restored")
        # A broker that its controller has shut out names no node, which aiokafka asserts.
        except (KafkaError, AssertionError) as problem:
            raise BrokerUnavailable(self._name, f"cannot open: {problem!r}") from problem
        self._last_input = time.monotonic()
        self._committer.add(self)
        self.opened.set()

    async def close(self) -> None:
        """Commit what was processed, then let go of the partition."""
        self.closing = True
        self._drained.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._committed_or_failed(), _CLOSE_TIMEOUT_S)
        self._committer.discard(self)
        self.opened.set()

    async def fail(self, failure: BaseException) -> None:
        """End the agent: what a failed batch left is half of it, so nothing more is committed."""
        self.halt(failure)
        await self._committer.fail(failure)

    @property
    def pending(self) -> int:
        """Outputs, touches and changed keys that are in no transaction yet."""
        return self._pending_outputs + self.shard.dirty

    # -- what the committer calls ---------------------------------------------------

    def has_work(self) -> bool:
        """Say whether something is in no transaction yet."""
        return bool(self.pending or self._offset is not None)

    def take_work(self) -> Work:
        """Hand over what is to be committed; what comes from now on is the next one's."""
        self._send_touched()
        work = Work(self._outputs, self._acks, self.shard.begin_commit(), self._offset)
        self._outputs, self._acks, self._offset = {}, [], None
        self._pending_outputs = 0
        self._committing = True
        return work

    def work_committed(self, behind: int) -> None:
        """Keep the committed state; *behind* is its end in the changelog."""
        self.shard.end_commit(behind)
        self._committing = False
        self._drained.set()

    def halt(self, failure: BaseException) -> None:
        """Let nobody wait for a commit any more."""
        self._failure = self._failure or failure
        self._drained.set()

    def _uncommitted(self) -> bool:
        return self._failure is None and (self._committing or self.has_work())

    async def _next_commit(self) -> None:
        self._drained.clear()
        self._committer.wake(hurry=True)
        await self._drained.wait()

    async def _committed_or_failed(self) -> None:
        while self._uncommitted():
            await self._next_commit()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
