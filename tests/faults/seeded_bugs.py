"""Faults sown into a counting worker on purpose: the suite must catch each of them.

``sow`` patches the runtime inside the worker's own process, as COUNTING_BUG names it;
COUNTING_RESTORE_RECORDS and COUNTING_COMMIT_PAUSE_S only make a restore finer and
a commit slower, so that a fault finds its moment.
"""

# ruff: noqa: SLF001 - a bug is sown where the code is, private or not

import asyncio
import sys
from collections.abc import Callable, Mapping
from functools import partialmethod
from typing import Any, Final

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.agents.ports import Batch
from streams.runtime import worker
from streams.runtime.lanes.committer import Committed, Committer
from streams.runtime.lanes.lane import PartitionLane
from streams.runtime.lanes.lanes import Lanes, Process
from streams.runtime.state import shard
from streams.runtime.state.standby import StandbyShards

# Patched as Any: a bug fits no signature.
_committer: Any = Committer
_lane: Any = PartitionLane
_lanes: Any = Lanes
_worker: Any = worker
_table: Any = shard
_shard: Any = shard.Shard
_standby: Any = StandbyShards
_commit = Committer._commit
_run = Lanes.run
_processed = PartitionLane.processed


def sow(environ: Mapping[str, str]) -> None:
    """Patch the runtime as the environment says."""
    if bug := environ.get("COUNTING_BUG"):
        _BUGS[bug]()
    if records := environ.get("COUNTING_RESTORE_RECORDS"):
        _table.RESTORE_RECORDS = int(records)
    if pause := environ.get("COUNTING_COMMIT_PAUSE_S"):
        _slow_commits(float(pause))
    if environ.get("COUNTING_TRACE"):
        _trace()
    if environ.get("COUNTING_TELL_PENDING"):
        _tell_pending()
    if environ.get("COUNTING_TELL_STANDBY"):
        _tell_standby()


def _no_guard() -> None:
    """A replayed record is applied again."""
    _shard.offset = lambda *_: -1


def _early_commit() -> None:
    """The offset is committed before what the records produced is acked."""

    async def commit(committer: Committer, lanes: list[Any]) -> None:
        for lane in lanes:
            if lane._offset is not None:
                at = TopicPartition(lane.topic, lane.partition)
                await committer._member.commit(at, lane._offset)
        await _commit(committer, lanes)

    _committer._commit = commit


def _no_fence() -> None:
    """Whoever takes a partition over lets its owner go on."""

    async def fence(_: Committer, owner: str) -> None:
        sys.stderr.write(f"not fenced: {owner}\n")

    _committer._fence = fence


def _concurrency() -> None:
    """Two actors take the batches of a partition by turns, and wait before they work."""
    turn = 0

    async def run(self: Lanes, batch: Batch, process: Process) -> None:
        nonlocal turn
        turn += 1
        await asyncio.sleep(0.05 * (turn % 2))
        await _run(self, batch, process)

    _worker._App.agent = partialmethod(faust.App.agent, concurrency=2)
    _lanes.run = run


def _concurrency_unguarded() -> None:
    """As above, and nobody looks whether a batch follows the one before."""

    def fresh(lane: PartitionLane, batch: Batch) -> list[Any]:
        return [r for r in batch.records if r.offset > lane.offset(r.key or b"")]

    _concurrency()
    _lane.fresh = fresh


def _skipped_batch() -> None:
    """The first batch of partition 0 stays with an actor that never finishes."""

    async def run(self: Lanes, batch: Batch, process: Process) -> None:
        if batch.partition or batch.records[0].offset:
            await _run(self, batch, process)

    _lanes.run = run


def _unbounded() -> None:
    """Nothing holds the consumer back while commits are slow."""

    async def processed(lane: PartitionLane, next_offset: int | None = None) -> None:
        closing, lane.closing = lane.closing, True  # "closing" waits for nothing
        try:
            await _processed(lane, next_offset)
        finally:
            lane.closing = closing

    _lane.processed = processed


def _slow_commits(pause_s: float) -> None:
    inner = Committer._commit

    async def commit(committer: Committer, lanes: list[Committed]) -> None:
        await asyncio.sleep(pause_s)
        await inner(committer, lanes)

    _committer._commit = commit


def _tell_pending() -> None:
    inner = PartitionLane.processed
    most = 0

    async def processed(lane: PartitionLane, next_offset: int | None = None) -> None:
        nonlocal most
        if lane.pending > most:
            most = lane.pending
            sys.stderr.write(f"pending={most}\n")
        await inner(lane, next_offset)

    _lane.processed = processed


def _tell_standby() -> None:
    inner = StandbyShards._apply_next
    told: dict[int, int] = {}

    async def apply_next(standby: StandbyShards, consumer: AIOKafkaConsumer) -> None:
        await inner(standby, consumer)
        for partition, followed in standby._shards.items():
            if told.get(partition) != followed.store.position:
                told[partition] = followed.store.position
                sys.stderr.write(f"standby={partition} position={followed.store.position}\n")

    _standby._apply_next = apply_next


_BUGS: Final[Mapping[str, Callable[[], None]]] = {
    "no_guard": _no_guard,
    "early_commit": _early_commit,
    "no_fence": _no_fence,
    "concurrency": _concurrency,
    "concurrency_unguarded": _concurrency_unguarded,
    "skipped_batch": _skipped_batch,
    "unbounded": _unbounded,
}


def _trace() -> None:
    inner = PartitionLane.fresh

    def fresh(lane: PartitionLane, batch: Batch) -> list[Any]:
        sys.stderr.write(
            f"batch {lane.partition} {batch.records[0].offset}-{batch.next_offset} "
            f"follows={batch.follows} position={lane.position}\n"
        )
        return inner(lane, batch)

    _lane.fresh = fresh
