"""Kills that the disk store, standby copies and timers must survive."""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.harness import DEADLINE_S, KEYS, PARTITIONS, Run

pytestmark = [pytest.mark.faults, pytest.mark.integration]

RECORDS = 6000


def test_the_state_store_on_disk_survives_kills_and_reads_only_what_is_new(
    run: Run, home: Path
) -> None:
    disk = {"worker_store": "rocksdb", "worker_name": run.prefix}
    asyncio.run(run.produce(RECORDS // 2))
    killed = run.start(crash_at="worker.after_state:4", worker_pending_records="300", **disk)
    assert asyncio.run(killed.ended()) == -signal.SIGKILL
    second = run.start(**disk)
    asyncio.run(run.wait_for_outputs(RECORDS // 2))
    second.kill()
    asyncio.run(run.produce(RECORDS // 2, start=RECORDS // 2))
    run.start(**disk)
    asyncio.run(run.wait_for_outputs(RECORDS))
    asyncio.run(run.check())
    assert list((home / "state" / run.prefix).glob("*.state-*"))


def test_a_standby_takes_over_what_a_killed_worker_owned_with_little_to_read(run: Run) -> None:
    async def scenario() -> None:
        first = run.start(worker_standby="true")
        await run.produce(RECORDS * 3 // 4)
        await run.wait_for_outputs(RECORDS * 3 // 4)
        second = run.start(worker_standby="true")
        await second.said_so("standby follows")
        # The standby is as far as the owner once it has read what there is.
        await asyncio.sleep(2.0)
        first.kill()
        before = len(second.restored())
        await run.produce(RECORDS // 4, start=RECORDS * 3 // 4)
        await run.wait_for_outputs(RECORDS)
        await run.check()
        taken = second.restored()[before:]
        assert len(taken) == PARTITIONS, "the second worker did not take over: a void run"
        assert sum(taken) < len(await run.read("state")) / 4

    asyncio.run(scenario())


async def _woken(run: Run) -> Counter[bytes]:
    return Counter(key for key, _ in await run.outputs(woken=True))


async def _wait_until_woken(run: Run) -> Counter[bytes]:
    deadline = time.monotonic() + DEADLINE_S
    while len(woken := await _woken(run)) < KEYS:
        assert time.monotonic() < deadline, f"{len(woken)} of {KEYS} keys woken"
        await asyncio.sleep(0.3)
    return woken


def test_timers_survive_a_kill_and_fire_once_while_no_input_arrives(run: Run) -> None:
    async def scenario() -> None:
        first = run.start()
        await run.produce(KEYS, value=b"timer:8000")
        await run.wait_for_outputs(KEYS)
        first.kill()
        assert not await _woken(run), "the kill came after a timer: the run proves nothing"
        second = run.start(crash_at="worker.after_state:2")
        assert await second.ended() == -signal.SIGKILL
        run.start()
        assert set((await _wait_until_woken(run)).values()) == {1}
        await run.check()

    asyncio.run(scenario())


def test_timers_move_with_their_partition_and_fire_once(run: Run) -> None:
    async def scenario() -> None:
        run.start()
        await run.produce(KEYS, value=b"timer:15000")
        await run.wait_for_outputs(KEYS)
        run.start()
        assert set((await _wait_until_woken(run)).values()) == {1}
        # No timer may fire ahead of its time.
        due = dict(await run.timer_times())
        for key, line in await run.outputs(woken=True):
            assert int(line.rpartition(b":")[2]) >= due[key]

    asyncio.run(scenario())
