"""Partitions move under load, workers freeze and wake, the broker dies: all of it by signal."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

import pytest

from tests.faults.conftest import SpareBroker
from tests.faults.harness import RESTARTABLE, Run, Worker, until

pytestmark = [pytest.mark.faults, pytest.mark.integration]

TOOK_OVER = "another process took over"
# How long a killed broker stays away.
OUTAGE_S = 2.0


@contextlib.asynccontextmanager
async def _load(run: Run) -> AsyncIterator[None]:
    enough = asyncio.Event()
    feeding = asyncio.create_task(run.feed(enough))
    try:
        yield
    finally:
        enough.set()
        await feeding


async def _gave_way(zombie: Worker, assignments: int) -> None:
    """Return once it was fenced off and ended, or found out first and got more assignments."""

    def gave_way() -> bool:
        return not zombie.alive or len(zombie.figures("generation")) > assignments

    await until(gave_way, zombie.said)
    assert zombie.alive or TOOK_OVER in zombie.said(), zombie.said()


async def _more_outputs(run: Run, count: int = 600) -> None:
    await run.wait_for_outputs(len(await run.read("out")) + count)


def test_two_workers_then_three_then_one_under_load_neither_lose_nor_double(run: Run) -> None:
    async def scenario() -> None:
        async with _load(run):
            first, second = run.start(), run.start()
            await asyncio.gather(first.assigned(), second.assigned())
            await _more_outputs(run)
            third = run.start()
            await third.assigned()
            await _more_outputs(run)
            first.kill()
            second.signal(signal.SIGTERM)
            assert await second.ended() == 0, second.said()
            await _more_outputs(run)
        await run.drained()
        assert third.alive
        assert third.owned() == {0, 1, 2}
        await run.check()
        assert (await run.evidence())["generations"] >= 2

    asyncio.run(scenario())


@pytest.mark.parametrize("point", ["worker.after_touches:3", "worker.after_state:3"])
def test_a_worker_frozen_before_its_commit_cannot_commit_after_its_successor(
    run: Run, point: str
) -> None:
    async def scenario() -> None:
        await run.produce(3000)
        zombie = run.start(stop_at=point, worker_pending_records="300")
        await zombie.stopped()
        successor = run.start()
        await run.drained()
        behind, outputs = await run.committed(), len(await run.read("out"))
        zombie.signal(signal.SIGCONT)
        assert await zombie.ended() in RESTARTABLE, zombie.said()
        assert TOOK_OVER in zombie.said()
        assert await run.committed() == behind
        assert len(await run.read("out")) == outputs
        await run.produce(1000, start=3000)
        await run.drained()
        assert successor.alive
        await run.check()
        assert (await run.evidence())["generations"] >= 1
        if point.startswith("worker.after_state"):
            assert (await run.evidence())["aborted"] > 0, "the zombie had no transaction open"

    asyncio.run(scenario())


@pytest.mark.parametrize("point", ["worker.claiming", "worker.claimed"])
def test_a_worker_frozen_while_it_takes_partitions_over_does_not_come_between(
    run: Run, point: str
) -> None:
    async def scenario() -> None:
        await run.produce(1000)
        first = run.start()
        await run.wait_for_outputs(1000)
        first.kill()
        zombie = run.start(stop_at=point)
        await zombie.stopped()
        run.start()
        await run.produce(1000, start=1000)
        await run.drained()
        assignments = len(zombie.figures("generation"))
        zombie.signal(signal.SIGCONT)
        async with _load(run):
            await _gave_way(zombie, assignments)
            await _more_outputs(run)
        await run.drained()
        await run.check()

    asyncio.run(scenario())


def test_a_worker_frozen_anywhere_past_its_session_leaves_no_trace_when_it_wakes(run: Run) -> None:
    async def scenario() -> None:
        zombie = run.start()
        async with _load(run):
            await _more_outputs(run)
            zombie.signal(signal.SIGSTOP)
            await run.produce(1500)
            successor = run.start()
            await successor.assigned()
            await _more_outputs(run)
            assignments = len(zombie.figures("generation"))
            zombie.signal(signal.SIGCONT)
            await _gave_way(zombie, assignments)
            await _more_outputs(run)
        await run.drained()
        await run.check()
        assert (await run.evidence())["generations"] >= 1

    asyncio.run(scenario())


def test_a_broker_killed_under_load_loses_and_doubles_nothing(
    spare: SpareBroker, spare_run: Run
) -> None:
    run = spare_run

    async def scenario() -> None:
        run.start()
        run.start()
        async with _load(run):
            for _ in range(2):
                await _more_outputs(run)
                await asyncio.to_thread(spare.kill)
                await asyncio.sleep(OUTAGE_S)
                await asyncio.to_thread(spare.start)
                if not any(worker.alive for worker in run.workers):
                    run.start()
        await run.produce(500)
        await run.drained(restart=True)
        for worker in run.workers:
            assert worker.alive or await worker.ended() in RESTARTABLE, worker.said()
            assert worker.alive or "ended: " in worker.said()
        await run.check()

    asyncio.run(scenario())
