"""A slow broker or changelog holds the consumer back: memory is bounded, then all is caught up."""

import asyncio
import signal

import pytest

from tests.faults.conftest import SpareBroker
from tests.faults.harness import DEADLINE_S, Run, until

pytestmark = [pytest.mark.faults, pytest.mark.integration]

RECORDS = 20_000
BATCH, PENDING = 100, 500
# Longer than the embedded broker's session: its partitions lose their leader as it wakes.
FROZEN_S = 6.0
# All input at once would take more than twice the limit.
VALUE, LIMIT_MB = b"x" * 6000, 60
# A record makes one output and changes one key.
MOST = PENDING + 2 * BATCH
BOUNDED = {
    "worker_batch_records": str(BATCH),
    "worker_pending_records": str(PENDING),
    "counting_tell_pending": "1",
}


def test_slow_commits_hold_the_consumer_back_and_memory_is_bounded(run: Run) -> None:
    async def scenario() -> None:
        worker = run.start(
            counting_commit_pause_s="0.3", worker_session_timeout_s=str(DEADLINE_S), **BOUNDED
        )
        await run.produce(100)
        await run.drained()
        idle_mb = most_mb = worker.rss_mb()
        # Stopped meanwhile, so that all of it is there when the worker goes on.
        worker.signal(signal.SIGSTOP)
        await worker.stopped()
        await run.produce(RECORDS, value=VALUE)
        worker.signal(signal.SIGCONT)

        async def caught_up() -> bool:
            nonlocal most_mb
            most_mb = max(most_mb, worker.rss_mb())
            return not await run.lag()

        await until(caught_up, lambda: "not caught up")
        most = max(worker.figures("pending"))
        assert PENDING < most <= MOST, "not held back, or never too slow"
        assert most_mb - idle_mb < LIMIT_MB
        await run.check()

    asyncio.run(scenario())


def test_a_frozen_broker_is_waited_for_and_nothing_piles_up(
    spare: SpareBroker, spare_run: Run
) -> None:
    run = spare_run

    async def scenario() -> None:
        # Small records: all of them are in the worker before its second commit.
        await run.produce(RECORDS)
        worker = run.start(stop_at="worker.after_state:2", **BOUNDED)
        await worker.stopped()
        before = await run.committed()
        assert sum(before.values()) < RECORDS / 2, "little is left to pile up: a void run"
        load = asyncio.create_task(run.produce(3000, start=RECORDS))
        spare.freeze()
        try:
            worker.signal(signal.SIGCONT)
            await until(lambda: max(worker.figures("pending")) > PENDING, lambda: "not held back")
            # How long the broker stands still, no wait for anything.
            await asyncio.sleep(FROZEN_S)
            assert not load.done()
        finally:
            spare.thaw()
        await load
        await run.drained(restart=True)
        assert PENDING < max(worker.figures("pending")) <= MOST
        await run.check()

    asyncio.run(scenario())
