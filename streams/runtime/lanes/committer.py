"""The transactions of one agent: what all its lanes did is committed together, by one producer.

While one transaction commits, the lanes go on and their outputs gather; so a transaction
covers as much as came in meanwhile. Order: touches are acked first, then outputs and changed
state go out together, then the input offsets.

Who commits a partition stands in its committed offset: the metadata is the transactional id
of its owner. Whoever takes a partition over fences that id before it looks at anything, and
puts its own there as a member of the group (docs/decisions/lanes.md).
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from schemas.crash import crash_point
from schemas.errors import BrokerUnavailable, Fenced
from schemas.settings import Settings
from streams.kafka_client.group_commits import fetch_committed
from streams.runtime.lanes.fair_queue import FairQueue
from streams.runtime.lanes.producers import NO_HEADERS, Unaddressed, new_producer, send_all

log = structlog.get_logger()

_CLOSE_TIMEOUT_S: Final = 15.0
# How long a claim that is refused is tried again.
_CLAIM_PAUSE_S: Final = 0.2
_CLAIM_TIMEOUT_S: Final = 60.0


@dataclass(slots=True)
class Work:
    """What a lane did since its last transaction; ``offset`` is ``None`` if only timers fired."""

    outputs: dict[tuple[str, int], list[Unaddressed]]
    acks: list[asyncio.Task[None]]
    state: dict[bytes, bytes]
    offset: int | None


class Committed(Protocol):
    """A lane as the committer sees it."""

    topic: str
    partition: int

    @property
    def state_topic(self) -> str:
        """The topic of the lane's state."""

    def has_work(self) -> bool:
        """Say whether there is something to commit."""

    def take_work(self) -> Work:
        """Hand over what is to be committed; what comes from now on is the next one's."""

    def work_committed(self, behind: int) -> None:
        """Note that it is committed; *behind* is the state topic's offset behind it, -1 if none."""

    def halt(self, failure: BaseException) -> None:
        """Note that nothing more will be committed."""


class GroupMember(Protocol):
    """This worker as a member of the consumer group: what it may commit there."""

    async def claim(self, at: TopicPartition, offset: int, owner: str) -> None:
        """Commit an offset with its owner; ``KafkaError`` if the partition is not ours any more."""

    async def commit(self, at: TopicPartition, offset: int) -> None:
        """Commit an offset outside of a transaction (brokers that have none)."""


class Committer:
    """One producer, and the lanes that commit by it; made anew with each assignment."""

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        group: str,
        topics: Sequence[str],
        member: GroupMember,
        queue: FairQueue,
        every_s: float,
        on_commit: Callable[[float], None],
        on_failure: Callable[[BaseException], Awaitable[None]],
    ) -> None:
        # Never the id of an assignment before: to fence that one must not stop this one.
        self.id = f"{group}-{name}-{uuid.uuid4().hex}"
        self.partitions: dict[str, int] = {}
        self._settings, self._group, self._topics = settings, group, topics
        self._member, self._queue = member, queue
        self._every_s, self._on_commit = every_s, on_commit
        self._on_failure = on_failure
        self._lanes: list[Committed] = []
        self._fences: dict[str, asyncio.Task[None]] = {}
        self._wake, self._hurry = asyncio.Event(), asyncio.Event()
        self._began_s = 0.0
        self._failure: BaseException | None = None
        self._opening: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    # -- a partition comes --------------------------------------------------------

    async def opened(self) -> None:
        """Return once the producer is ready; the first who asks starts it."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name=f"open {self.id}")
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        transactional = self.id if self._settings.kafka_transactions else None
        self._producer = new_producer(self._settings, transactional_id=transactional)
        await self._producer.start()
        for topic in self._topics:
            self.partitions[topic] = len(await self._producer.partitions_for(topic))
        self._task = asyncio.create_task(self._commit_forever(), name=self.id)

    async def take_over(self, at: TopicPartition, reader: AIOKafkaConsumer) -> int:
        """Fence the owner of a partition and become it; return the offset to go on from.

        *reader* is a consumer of the group that has joined nothing.
        """
        # Before the claim: a producer that is started later would be newer than its own fence.
        await self.opened()
        offset, owner = await self._committed(at, reader)
        if not self._settings.kafka_transactions:
            return offset
        crash_point("worker.claiming")
        if owner not in ("", self.id):
            await self._fence(owner)
            # What the owner was just committing is committed by now, or never will be.
            offset, _ = await self._committed(at, reader)
        await self._claim(at, offset)
        crash_point("worker.claimed")
        return offset

    async def _committed(self, at: TopicPartition, reader: AIOKafkaConsumer) -> tuple[int, str]:
        committed = await fetch_committed(reader, at)
        if committed is None or committed.offset < 0:
            return 0, ""
        return committed.offset, committed.metadata or self._id_before(at)

    def _id_before(self, at: TopicPartition) -> str:
        # Before there were owners each partition had an id of its own, and its offset named nobody.
        return f"{self._group}-{at.topic}-{at.partition}"

    async def _fence(self, owner: str) -> None:
        """End an owner's transactions for good; once for all the partitions that it had."""
        if owner not in self._fences:
            self._fences[owner] = asyncio.create_task(self._take_id(owner), name=f"fence {owner}")
        await asyncio.shield(self._fences[owner])

    async def _take_id(self, owner: str) -> None:
        producer = new_producer(self._settings, transactional_id=owner)
        try:
            await producer.start()
        finally:
            await producer.stop()

    async def _claim(self, at: TopicPartition, offset: int) -> None:
        deadline_s = time.monotonic() + _CLAIM_TIMEOUT_S
        while True:
            try:
                return await self._member.claim(at, offset, self.id)
            except KafkaError as problem:
                # The group is made anew, and this lane closed, or its coordinator moves.
                if time.monotonic() > deadline_s:
                    raise
                log.info(
                    "claims again", topic=at.topic, partition=at.partition, problem=repr(problem)
                )
                await asyncio.sleep(_CLAIM_PAUSE_S)

    # -- lanes --------------------------------------------------------------------

    def add(self, lane: Committed) -> None:
        """Commit what this lane does, too."""
        self._lanes.append(lane)

    def discard(self, lane: Committed) -> None:
        """Commit nothing of this lane any more."""
        if lane in self._lanes:
            self._lanes.remove(lane)

    def wake(self, *, hurry: bool = False) -> None:
        """Commit when the interval since the last transaction is over, or at once."""
        self._wake.set()
        if hurry:
            self._hurry.set()

    async def fail(self, failure: BaseException, cause: BaseException | None = None) -> None:
        """Commit nothing more, of no lane: what a failed batch left is half of it."""
        failure.__cause__ = cause or failure.__cause__
        self._failure = self._failure or failure
        for lane in self._lanes:
            lane.halt(self._failure)
        self._wake.set()
        await self._on_failure(failure)

    async def close(self) -> None:
        """Let go of the producer, once the lanes are closed."""
        tasks = [*self._fences.values(), self._opening, self._task]
        for task in [task for task in tasks if task is not None]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, KafkaError, AssertionError):
                await task
        if hasattr(self, "_producer"):
            with contextlib.suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(self._producer.stop(), _CLOSE_TIMEOUT_S)

    # -- transactions -------------------------------------------------------------

    async def _commit_forever(self) -> None:
        try:
            while self._failure is None:
                await self._wake.wait()
                await self._pace()
                self._wake.clear()
                busy = [lane for lane in self._lanes if lane.has_work()]
                if busy and self._failure is None:
                    await self._commit(busy)
        except ProducerFenced as fenced:
            await self.fail(Fenced(self.id), fenced)
        except KafkaError as problem:
            await self.fail(BrokerUnavailable(self.id, f"commit failed: {problem!r}"), problem)
        except Exception as fault:  # noqa: BLE001 - whatever it is, nothing may be committed past it
            await self.fail(fault)

    async def _pace(self) -> None:
        # Under load a key that changes again within the interval is written once for all.
        wait_s = self._began_s + self._every_s - time.monotonic()
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), wait_s)
        self._hurry.clear()
        self._began_s = time.monotonic()

    async def _commit(self, lanes: Sequence[Committed]) -> None:
        began_s = time.perf_counter()
        shares = [(lane, lane.take_work()) for lane in lanes]
        acks = [ack for _, work in shares for ack in work.acks]
        for ack in acks:
            await ack
        if acks:
            crash_point("worker.touches_out")
        crash_point("worker.after_touches")
        if self._settings.kafka_transactions:
            behind = await self._commit_transaction(shares)
        else:
            behind = await self._commit_in_order(shares)
        crash_point("worker.after_commit")
        for lane, _ in shares:
            lane.work_committed(behind[lane.partition])
        self._on_commit(time.perf_counter() - began_s)

    async def _commit_transaction(self, shares: list[tuple[Committed, Work]]) -> dict[int, int]:
        """Return, for each partition, the offset behind its state."""
        await self._producer.begin_transaction()
        # At once, since none counts before the transaction does: each wait for the broker
        # that is saved is saved for every event. Not the offsets: while the coordinator
        # adds them, the broker refuses outputs that it must verify there.
        _, behind = await asyncio.gather(self._send_outputs(shares), self._send_states(shares))
        offsets = {
            TopicPartition(lane.topic, lane.partition): OffsetAndMetadata(work.offset, self.id)
            for lane, work in shares
            if work.offset is not None
        }
        if offsets:
            await self._producer.send_offsets_to_transaction(offsets, self._group)
        await self._producer.commit_transaction()
        return behind

    async def _commit_in_order(self, shares: list[tuple[Committed, Work]]) -> dict[int, int]:
        await self._send_outputs(shares)
        behind = await self._send_states(shares)
        for lane, work in shares:
            if work.offset is not None:
                await self._member.commit(TopicPartition(lane.topic, lane.partition), work.offset)
        return behind

    async def _send_outputs(self, shares: list[tuple[Committed, Work]]) -> None:
        gathered: dict[tuple[str, int], list[Unaddressed]] = {}
        for _, work in shares:
            for to, records in work.outputs.items():
                gathered.setdefault(to, []).extend(records)
        await asyncio.gather(
            *(
                send_all(self._producer, *to, records, self._queue)
                for to, records in gathered.items()
            )
        )
        crash_point("worker.after_outputs")

    async def _send_states(self, shares: list[tuple[Committed, Work]]) -> dict[int, int]:
        behind = await asyncio.gather(*(self._send_state(lane, work) for lane, work in shares))
        crash_point("worker.after_state")
        return {lane.partition: offset for (lane, _), offset in zip(shares, behind, strict=True)}

    async def _send_state(self, lane: Committed, work: Work) -> int:
        changelog = ((key, value, NO_HEADERS) for key, value in work.state.items())
        to = lane.state_topic, lane.partition
        return await send_all(self._producer, *to, changelog, self._queue)
