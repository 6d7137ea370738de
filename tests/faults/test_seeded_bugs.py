"""The suite's own test: faults sown into the worker must turn its checks red."""

import asyncio
import signal

import pytest

from tests.faults.harness import Run
from tests.faults.test_worker_bounds import BOUNDED, MOST

pytestmark = [pytest.mark.faults, pytest.mark.integration]


async def _killed_and_replayed(run: Run, point: str, **settings: str) -> None:
    await run.produce(3000)
    settings = {"worker_pending_records": "300", **settings}  # many commits
    victim = run.start(crash_at=point, **settings)
    assert await victim.ended() == -signal.SIGKILL, victim.said()
    run.start(**settings)
    await run.drained()


def test_without_transactions_state_stays_exact_and_only_outputs_may_double(run: Run) -> None:
    async def scenario() -> None:
        await _killed_and_replayed(run, "worker.after_state:3", kafka_transactions="false")
        await run.check(exactly_once=False)

    asyncio.run(scenario())


def test_without_transactions_a_kill_before_the_state_doubles_outputs_only(run: Run) -> None:
    async def scenario() -> None:
        await _killed_and_replayed(run, "worker.after_outputs:3", kafka_transactions="false")
        await run.check(exactly_once=False)
        # The run was to repeat outputs; else it proves nothing.
        with pytest.raises(AssertionError, match="too many"):
            await run.check()

    asyncio.run(scenario())


def test_a_missing_offset_guard_is_caught(run: Run) -> None:
    async def scenario() -> None:
        bug = {"kafka_transactions": "false", "counting_bug": "no_guard"}
        await _killed_and_replayed(run, "worker.after_state:3", **bug)
        with pytest.raises(AssertionError):
            await run.check(exactly_once=False)

    asyncio.run(scenario())


def test_a_commit_ahead_of_the_acks_is_caught(run: Run) -> None:
    async def scenario() -> None:
        await _killed_and_replayed(run, "worker.after_touches:3", counting_bug="early_commit")
        with pytest.raises(AssertionError, match="lost"):
            await run.check()

    asyncio.run(scenario())


def test_an_owner_that_is_not_fenced_is_caught(run: Run) -> None:
    async def scenario() -> None:
        await run.produce(3000)
        settings = {"worker_pending_records": "300", "counting_bug": "no_fence"}
        zombie = run.start(stop_at="worker.after_state:3", **settings)
        await zombie.stopped()
        run.start(**settings)
        await run.drained()
        zombie.signal(signal.SIGCONT)
        with pytest.raises(AssertionError, match="too many"):
            await run.check()

    asyncio.run(scenario())


def test_two_actors_on_one_partition_end_the_worker(run: Run) -> None:
    async def scenario() -> None:
        await run.produce(3000)
        worker = run.start(counting_bug="concurrency")
        with pytest.raises(AssertionError, match="a batch between"):
            await run.drained()
        assert await worker.ended() == 1
        # Nothing wrong was committed: without the bug it goes on from there.
        run.start()
        await run.drained()
        await run.check()

    asyncio.run(scenario())


def test_two_actors_on_one_partition_are_caught_where_nothing_stops_them(run: Run) -> None:
    async def scenario() -> None:
        await run.produce(3000)
        run.start(counting_bug="concurrency_unguarded")
        await run.drained()
        with pytest.raises(AssertionError, match="lost"):
            await run.check()

    asyncio.run(scenario())


def test_a_consumer_that_nothing_holds_back_is_caught(run: Run) -> None:
    async def scenario() -> None:
        await run.produce(6000)
        worker = run.start(counting_bug="unbounded", counting_commit_pause_s="0.5", **BOUNDED)
        await run.drained()
        assert max(worker.figures("pending")) > MOST

    asyncio.run(scenario())
