"""Kills that the disk store, standby copies and timers must survive."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.harness import KEYS, PARTITIONS, Run, until

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
        await run.produce(RECORDS // 2)
        await run.wait_for_outputs(RECORDS // 2)
        second = run.start(worker_standby="true", counting_tell_standby="1")
        await asyncio.gather(second.assigned(), first.assigned(2))
        # Once these are through, all lanes of both are open.
        await run.produce(RECORDS // 4, start=RECORDS // 2)
        await run.drained()
        ends = await run.state_ends()
        assert len(ends) == PARTITIONS
        await until(
            lambda: all(
                second.followed().get(partition, 0) >= end
                for partition, end in ends.items()
                if partition not in second.owned()
            ),
            lambda: f"standbys at {second.followed()} of {ends}",
        )
        assert second.owned() != set(ends), "nothing to follow: a void run"
        first.kill()
        before = len(second.restored())
        await run.produce(RECORDS // 4, start=RECORDS * 3 // 4)
        await run.wait_for_outputs(RECORDS)
        await run.check()
        taken = second.restored()[before:]
        assert len(taken) == PARTITIONS, "the second worker did not take over: a void run"
        # The marker behind the last transaction of each partition, which holds no record.
        assert sum(taken) <= PARTITIONS

    asyncio.run(scenario())


async def _woken(run: Run) -> Counter[bytes]:
    return Counter(key for key, _ in await run.outputs(woken=True))


async def _wait_until_woken(run: Run) -> Counter[bytes]:
    woken: Counter[bytes] = Counter()

    async def all_keys() -> bool:
        nonlocal woken
        woken = await _woken(run)
        return len(woken) == KEYS

    await until(all_keys, lambda: f"{len(woken)} of {KEYS} keys woken", pause_s=0.3)
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
