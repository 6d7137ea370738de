"""All lanes of one agent: opened when partitions come, closed when they go."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol, cast

import faust
from aiokafka import AIOKafkaProducer
from faust.types import TP

from schemas import clock
from schemas.crash import crash_point
from schemas.settings import Settings
from schemas.topics import Topic
from streams.agents.ports import Batch
from streams.runtime.faust_adapter.transport import MicroBatchConsumer, WorkerMembership
from streams.runtime.lanes.committer import Committer
from streams.runtime.lanes.fair_queue import FairQueue
from streams.runtime.lanes.lane import PartitionLane
from streams.runtime.lanes.producers import send_all
from streams.runtime.serving.metrics import Meter
from streams.runtime.state.shard import Shard
from streams.runtime.state.standby import StandbyShards

Process = Callable[[PartitionLane, Batch], None]
Wake = Callable[[PartitionLane, bytes, int], None]
TICK_S = 0.05
# How long an agent may hold the loop at a time: commits wait for it at each of their steps.
# Shorter slices cost more turns of the loop.
SLICE_S: Final = 0.004
# Timers woken in a slice, at most.
WAKES_PER_TICK = 500


class Gate(Protocol):
    """What each lane of an agent passes before it works and when it goes."""

    async def before(self, lane: PartitionLane) -> None:
        """Hold a lane ahead of each batch and round of timers; nothing of it runs meanwhile."""

    def closing(self, lane: PartitionLane) -> None:
        """Emit what is to be committed together with the last of a lane that leaves in order."""


class Lanes:
    """The lanes of one agent on the partitions that this worker holds."""

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        *,
        source: Topic,
        state: Topic,
        outputs: Sequence[str],
        commit_every_s: float,
        touches: AIOKafkaProducer,
        queue: FairQueue,
        on_failure: Callable[[BaseException], Awaitable[None]],
        gate: Gate | None = None,
    ) -> None:
        self._gate, self._queue = gate, queue
        self._app, self._settings = app, settings
        self._send = partial(send_all, touches)
        self._source, self._outputs = source, outputs
        self._commit_every_s = commit_every_s
        self._on_failure = on_failure
        self._lanes: dict[int, PartitionLane] = {}
        self._committer: Committer | None = None
        self._generations: dict[int, int] = {}
        self._generation = -1
        self._settled = asyncio.Event()  # set, and replaced, with each assignment
        self._openings: dict[int, asyncio.Task[None]] = {}
        self._standbys = StandbyShards(settings, state.name)
        self._record_s = 5e-5  # what a record takes, learnt as they come
        self.meter = Meter()

    def all_lanes(self) -> list[PartitionLane]:
        """Return the lanes of the partitions that this worker holds."""
        return list(self._lanes.values())

    def open_lanes(self) -> list[PartitionLane]:
        """Return the lanes whose state is restored."""
        return [lane for lane in self._lanes.values() if lane.opened.is_set()]

    async def assigned(self, partitions: set[TP]) -> None:
        """Open a lane for each partition of this agent's topic that is new here."""
        generation = self._app.consumer_generation_id
        # Whatever was left open would commit by an id that others may fence by now.
        await self._close_all()
        mine = [tp for tp in partitions if tp.topic == self._source.name]
        committer = self._committer = self._new_committer(generation)
        for tp in mine:
            shard = await self._standbys.take(tp.partition)
            lane = self._lanes[tp.partition] = self._new_lane(tp, shard, committer)
            self._openings[tp.partition] = asyncio.create_task(self._open(lane))
            self._generations[tp.partition] = generation
        self._standbys.settle()
        self._generation = generation
        self._settled.set()
        self._settled = asyncio.Event()
        crash_point("worker.assigned")

    async def revoked(self, partitions: set[TP]) -> None:
        """Commit and close all lanes: with some partitions, the group takes all of them away."""
        if any(tp.topic == self._source.name for tp in partitions):
            crash_point("worker.revoking")
        await self._close_all()

    async def close(self) -> None:
        """Commit and close all lanes."""
        await self._close_all()
        await self._standbys.close()

    async def _close_all(self) -> None:
        await asyncio.gather(*(self._close(partition) for partition in list(self._lanes)))
        committer, self._committer = self._committer, None
        if committer is not None:
            await committer.close()

    async def _close(self, partition: int) -> None:
        lane = self._lanes.pop(partition, None)
        if lane is None:
            return
        opening = self._openings.pop(partition)
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening
        if self._gate is not None and lane.opened.is_set():
            self._gate.closing(lane)
        await lane.close()
        self._standbys.put_back(lane.shard)

    async def run(self, batch: Batch, process: Process) -> None:
        """Process one batch on its lane; a batch of a past assignment is left alone."""
        # Faust lets batches flow while its signal of the assignment is still on its way.
        while self._generation < batch.generation:
            await self._settled.wait()
        lane = self._lanes.get(batch.partition)
        if lane is None or batch.generation != self._generations[batch.partition]:
            return
        await lane.opened.wait()
        await self._queue.next_turn()
        if not await self._prepared(lane) or self._lanes.get(batch.partition) is not lane:
            return
        try:
            await self._process(lane, batch, process)
        except Exception as failure:  # noqa: BLE001 - Faust would log it and ack the batch
            await lane.fail(failure)

    async def _process(self, lane: PartitionLane, batch: Batch, process: Process) -> None:
        """Process a batch in slices, between which commits and other lanes get their turn."""
        records, at = lane.fresh(batch), 0
        if not records:
            await self._hand_over(lane, batch)
        while at < len(records):
            if at:
                await self._queue.next_turn()
                if not await self._prepared(lane) or self._lanes.get(batch.partition) is not lane:
                    return
            upto = at + max(1, int(SLICE_S / self._record_s))
            piece = Batch(batch.topic, batch.partition, records[at:upto], None, batch.generation)
            began_s = time.thread_time()
            process(lane, piece)
            self._learn(len(piece.records), time.thread_time() - began_s)
            await self._hand_over(lane, piece)
            at = upto

    async def _hand_over(self, lane: PartitionLane, batch: Batch) -> None:
        self.meter.batches += 1
        await lane.processed(batch.next_offset)

    def _learn(self, records: int, took_s: float) -> None:
        # In CPU time, or slices would shrink on a busy machine. A few records tell little.
        weight = min(0.5, records / 200)
        self._record_s += (took_s / records - self._record_s) * weight

    async def _prepared(self, lane: PartitionLane) -> bool:
        """Return whether the lane may process now, once what comes before is done."""
        if self._gate is not None and not lane.closing:
            try:
                await self._gate.before(lane)
            except Exception as failure:  # noqa: BLE001 - as below: the worker must end
                await lane.fail(failure)
                return False
        return not lane.closing

    async def tick_forever(self, wake: Wake) -> None:
        """Wake the keys whose timer is due, also while no input arrives."""
        more = False
        while True:
            if not more:
                await asyncio.sleep(TICK_S)
            more = False
            for lane in list(self._lanes.values()):
                await self._queue.next_turn()
                if lane.opened.is_set() and await self._prepared(lane):
                    more |= await self._tick(lane, wake)

    async def _tick(self, lane: PartitionLane, wake: Wake) -> bool:
        """Wake due keys for a slice of time; say whether some may be left."""
        now_ms = lane.advance_clock(clock.now_ms())
        until_s, woken, out_of_time = time.perf_counter() + SLICE_S, 0, False
        try:
            for key in lane.shard.due(now_ms, WAKES_PER_TICK):
                wake(lane, key, now_ms)
                woken += 1
                out_of_time = time.perf_counter() > until_s
                if out_of_time:
                    break
            if woken:
                await lane.processed()
        except Exception as failure:  # noqa: BLE001 - a timer's fault must end the worker, not the ticker
            await lane.fail(failure)
        return out_of_time

    async def _open(self, lane: PartitionLane) -> None:
        try:
            await lane.open()
        except Exception as failure:  # noqa: BLE001 - reported to whoever runs the worker
            await self._on_failure(failure)

    def _new_committer(self, generation: int) -> Committer:
        consumer = cast("MicroBatchConsumer", self._app.consumer)
        return Committer(
            self._settings,
            name=self._source.name,
            group=self._app.conf.id,
            topics=self._outputs,
            member=WorkerMembership(consumer, generation),
            queue=self._queue,
            every_s=self._commit_every_s,
            on_commit=self.meter.committed,
            on_failure=self._on_failure,
        )

    def _new_lane(self, tp: TP, shard: Shard, committer: Committer) -> PartitionLane:
        def is_readable(wall_ms: int) -> bool:
            return cast("MicroBatchConsumer", self._app.consumer).is_readable_to_end(tp, wall_ms)

        return PartitionLane(
            self._settings,
            group=self._app.conf.id,
            topic=tp.topic,
            partition=tp.partition,
            shard=shard,
            committer=committer,
            send=self._send,
            is_readable=is_readable,
        )
