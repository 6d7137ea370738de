"""Touches of a lane: sent at once and together, and never missing in what a commit waits for."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from schemas.settings import Settings
from streams.runtime.lanes import lane as lanes
from streams.runtime.lanes.lane import PartitionLane
from streams.runtime.lanes.producers import Unaddressed


class Broker:
    """Stands for the producer: each send is acked or refused by the test."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []
        self.acks: list[asyncio.Future[int]] = []

    async def send_all(
        self, _producer: object, _topic: str, _partition: int, records: Iterable[Unaddressed]
    ) -> int:
        self.sent.append([value for _, value, _ in records])
        self.acks.append(asyncio.get_running_loop().create_future())
        return await self.acks[-1]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(lanes, "send_all", broker.send_all)
    return broker


def new_lane() -> PartitionLane:
    shard = SimpleNamespace(name="state", get=None, offset=None, dirty=0, begin_commit=dict)
    committer = SimpleNamespace(partitions={}, wake=lambda **_: None)
    return PartitionLane(
        Settings(), group="g", topic="events", partition=0, shard=cast("Any", shard),
        committer=cast("Any", committer), touches=cast("Any", None), is_readable=lambda _: True,
    )  # fmt: skip


async def slice_of(lane: PartitionLane, *touches: bytes) -> None:
    for touch in touches:
        lane.emit_at_once("touches", b"u", touch, partition=0)
    await lane.processed()
    await asyncio.sleep(0.01)  # some turns of the loop


def test_touches_that_come_until_an_ack_go_together_after_it(broker: Broker) -> None:
    async def story() -> None:
        lane = new_lane()
        await slice_of(lane, b"1", b"2")
        await slice_of(lane, b"3")
        await slice_of(lane, b"4")
        assert broker.sent == [[b"1", b"2"]]
        broker.acks[0].set_result(1)
        await asyncio.sleep(0.01)
        assert broker.sent == [[b"1", b"2"], [b"3", b"4"]]

    asyncio.run(story())


def test_a_commit_waits_for_all_touches_before_it_and_none_after(broker: Broker) -> None:
    async def story() -> None:
        lane = new_lane()
        await slice_of(lane, b"1")
        await slice_of(lane, b"2")
        assert lane.pending == 2
        acks = lane.take_work().acks
        await slice_of(lane, b"3")
        assert broker.sent == [[b"1"], [b"2"]]
        broker.acks[1].set_result(1)
        await asyncio.sleep(0.01)
        assert [ack.done() for ack in acks] == [False, True]
        broker.acks[0].set_result(1)
        await asyncio.gather(*acks)
        assert broker.sent[2:] == [[b"3"]]
        assert len(lane.take_work().acks) == 1

    asyncio.run(story())


def test_a_refused_touch_is_told_to_the_commit_and_nothing_follows_it(broker: Broker) -> None:
    async def story() -> None:
        lane = new_lane()
        await slice_of(lane, b"1")
        await slice_of(lane, b"2")
        broker.acks[0].set_exception(RuntimeError("refused"))
        await asyncio.sleep(0.01)
        assert broker.sent == [[b"1"]]
        with pytest.raises(RuntimeError, match="refused"):
            await lane.take_work().acks[0]

    asyncio.run(story())
