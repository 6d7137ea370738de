"""Touches of a lane: sent at once and together, and never missing in what a commit waits for."""

import asyncio
from collections.abc import Mapping

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.settings import Settings
from streams.runtime.lanes.committer import Committed
from streams.runtime.lanes.lane import PartitionLane
from streams.runtime.lanes.producers import Unaddressed
from streams.runtime.state.shard import Shard
from streams.runtime.state.store import MemoryStore

DEADLINE_S = 10.0


class Broker:
    """Stands for the producer of touches: each send is acked or refused by the test."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []
        self.acks: list[asyncio.Future[int]] = []
        self._came = asyncio.Condition()

    async def send(self, _topic: str, _partition: int, records: list[Unaddressed]) -> int:
        ack: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        async with self._came:
            self.sent.append([value for _, value, _ in records])
            self.acks.append(ack)
            self._came.notify_all()
        return await ack

    async def got(self, *touches: bytes) -> None:
        """Return once these have come, in however many sends."""
        async with asyncio.timeout(DEADLINE_S), self._came:
            await self._came.wait_for(lambda: {*touches} <= {t for some in self.sent for t in some})


class Committer:
    """Commits nothing by itself: the test takes the lane's work; ``wakes`` says who hurried."""

    partitions: Mapping[str, int] = {}

    def __init__(self) -> None:
        self.wakes: asyncio.Queue[bool] = asyncio.Queue()
        self.lanes: list[Committed] = []

    async def take_over(self, _at: TopicPartition, _reader: AIOKafkaConsumer) -> int:
        return 0

    def add(self, lane: Committed) -> None:
        self.lanes.append(lane)

    def discard(self, lane: Committed) -> None:
        self.lanes = [other for other in self.lanes if other is not lane]

    def wake(self, *, hurry: bool = False) -> None:
        self.wakes.put_nowait(hurry)

    async def fail(self, failure: BaseException) -> None:
        for lane in self.lanes:
            lane.halt(failure)


def new_lane(broker: Broker, committer: Committer | None = None, **settings: int) -> PartitionLane:
    return PartitionLane(
        Settings.model_validate(settings),
        group="g",
        topic="events",
        partition=0,
        shard=Shard("state", 0, MemoryStore()),
        committer=committer or Committer(),
        send=broker.send,
        is_readable=lambda _: True,
    )


def emit(lane: PartitionLane, *touches: bytes) -> None:
    for touch in touches:
        lane.emit_at_once("touches", b"u", touch, partition=0)


async def process(lane: PartitionLane, *touches: bytes) -> None:
    emit(lane, *touches)
    await lane.processed()


def other_tasks() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


def test_touches_that_come_until_an_ack_go_together_after_it() -> None:
    async def story() -> None:
        broker = Broker()
        lane = new_lane(broker)
        await process(lane, b"1", b"2")
        await broker.got(b"1", b"2")
        await process(lane, b"3")
        await process(lane, b"4")
        broker.acks[0].set_result(1)
        await broker.got(b"3", b"4")
        assert broker.sent == [[b"1", b"2"], [b"3", b"4"]]

    asyncio.run(story())


def test_a_touch_goes_out_only_when_its_batch_is_processed() -> None:
    async def story() -> None:
        broker = Broker()
        lane = new_lane(broker)
        emit(lane, b"1")
        assert not other_tasks()
        await lane.processed()
        await broker.got(b"1")

    asyncio.run(story())


def test_a_commit_waits_for_all_touches_before_it_and_none_after() -> None:
    async def story() -> None:
        broker = Broker()
        lane = new_lane(broker)
        await process(lane, b"1")
        await process(lane, b"2")
        assert lane.pending == 2
        first, second = lane.take_work().acks
        await process(lane, b"3")
        await broker.got(b"1", b"2")
        broker.acks[1].set_result(1)
        await second
        assert not first.done()
        await broker.got(b"3")
        broker.acks[0].set_result(1)
        await first
        await process(lane, b"4")
        await process(lane, b"5")
        assert broker.sent == [[b"1"], [b"2"], [b"3"]]
        broker.acks[2].set_result(1)
        await broker.got(b"4", b"5")
        assert broker.sent[3:] == [[b"4", b"5"]]
        third, fourth = lane.take_work().acks
        assert third.done()
        assert not fourth.done()

    asyncio.run(story())


def test_a_refused_touch_fails_its_commit_and_nothing_follows_it() -> None:
    async def story() -> None:
        broker = Broker()
        lane = new_lane(broker)
        await process(lane, b"1")
        await broker.got(b"1")
        await process(lane, b"2")
        broker.acks[0].set_exception(RuntimeError("refused"))
        await asyncio.wait(other_tasks())
        # The lane's own look at the ack came before ours: what it had to send it would send by now.
        assert not other_tasks()
        assert broker.sent == [[b"1"]]
        with pytest.raises(RuntimeError, match="refused"):
            await lane.take_work().acks[0]

    asyncio.run(story())


def test_a_lane_with_too_much_uncommitted_waits_for_a_commit_and_asks_for_it() -> None:
    async def story() -> None:
        committer = Committer()
        lane = new_lane(Broker(), committer, worker_pending_records=2)
        await process(lane, b"1")
        await process(lane, b"2")
        emit(lane, b"3")
        processed = asyncio.create_task(lane.processed())
        # The lane waits from its wake on: there is no await between the two.
        assert [await committer.wakes.get() for _ in range(3)] == [False, True, True]
        assert not processed.done()
        lane.take_work()
        lane.work_committed(behind=-1)
        await processed

    asyncio.run(story())
