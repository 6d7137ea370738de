"""A slow broker or changelog holds the consumer back: memory is bounded, then all is caught up."""

import asyncio
import time

import pytest

from tests.faults.conftest import SpareBroker
from tests.faults.harness import DEADLINE_S, Run

pytestmark = [pytest.mark.faults, pytest.mark.integration]

RECORDS = 20_000
BATCH, PENDING = 100, 500
# A record makes one output and changes one key.
MOST = PENDING + 2 * BATCH
BOUNDED = {
    "worker_batch_records": str(BATCH),
    "worker_pending_records": str(PENDING),
    "counting_tell_pending": "1",
}


def test_slow_commits_hold_the_consumer_back_and_memory_is_bounded(run: Run) -> None:
    async def scenario() -> None:
        # 20 MB of input: unbounded, it would all be in the worker before the first commits.
        await run.produce(RECORDS, value=b"x" * 1000)
        worker = run.start(counting_commit_pause_s="0.3", **BOUNDED)
        await run.wait_for_outputs(1)
        first_mb = most_mb = worker.rss_mb()
        deadline_s = time.monotonic() + DEADLINE_S
        while await run.lag():
            most_mb = max(most_mb, worker.rss_mb())
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.1)
        most = max(worker.figures("pending"))
        assert PENDING < most <= MOST, "not held back, or never too slow"
        assert most_mb - first_mb < 64
        await run.check()

    asyncio.run(scenario())


def test_a_frozen_broker_is_waited_for_and_nothing_piles_up(
    spare: SpareBroker, spare_run: Run
) -> None:
    run = spare_run

    async def scenario() -> None:
        await run.produce(3000)
        worker = run.start(**BOUNDED)
        await run.wait_for_outputs(300)
        load = asyncio.create_task(run.produce(3000, start=3000))
        spare.freeze()
        try:
            await asyncio.sleep(6)
        finally:
            spare.thaw()
        await load
        await run.drained(restart=True)
        assert max(worker.figures("pending")) <= MOST
        await run.check()

    asyncio.run(scenario())
