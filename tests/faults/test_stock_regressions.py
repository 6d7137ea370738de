"""What stock Faust 0.15.3 loses, shown on it, and the same scene on our runtime."""

import asyncio
import importlib.metadata
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.transport.consumer import Consumer
from faust.transport.producer import ProducerBuffer
from faust.types import TP
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from schemas.errors import ConfigInvalid, PartMissing
from tests.faults.conftest import SpareBroker
from tests.faults.harness import DEADLINE_S, PARTITIONS, Run, Worker

pytestmark = [pytest.mark.faults, pytest.mark.integration]

STOCK = Path(__file__).with_name("stock_worker.py")
KEY = b"k"


def _stock(run: Run, *traits: str) -> Worker:
    return run.launch([str(STOCK), run.kafka, run.prefix, *traits], {})


async def _send(run: Run, *values: bytes) -> None:
    await run.send([(KEY, value) for value in values], partition=0)


async def _until_committed(run: Run, offset: int) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while (await run.committed())[0] < offset:
        run.assert_somebody_works()
        assert time.monotonic() < deadline_s, f"{await run.committed()}: {run.workers[-1].said()}"
        await asyncio.sleep(0.2)


async def _offsets_out(run: Run) -> set[int]:
    return {int(value.split(b":")[1]) for _, value, *_ in await run.read("out")}


async def _lost_for_good(run: Run, offset: int, behind: int) -> None:
    """Kill, start a worker without any fault, and see that *offset* never comes out."""
    run.workers[-1].kill()
    _stock(run)
    await _send(run, b"x")
    await _until_committed(run, behind + 1)
    await run.wait_for_outputs(1)
    found = await _offsets_out(run)
    assert behind in found, "the restarted worker does not work: the run proves nothing"
    assert offset not in found


def test_the_stock_worker_is_the_release_that_the_regressions_are_about() -> None:
    assert importlib.metadata.version("faust-streaming") == "0.15.3"


# -- 1: a commit past a record that is not done -----------------------------------


def test_stock_offsets_pass_an_unacked_record() -> None:
    tp = TP("t", 0)
    consumer = SimpleNamespace(
        _acked={tp: [2586, 2587, 2588, 2589]},
        _acked_index={tp: {2586, 2587, 2588, 2589}},
        _gap={tp: {}},
        _committed_offset={tp: 2585},
    )
    # 2585 is the next to do, and not done; yet the commit goes past it.
    assert Consumer._new_offset(cast("Any", consumer), tp) == 2590  # noqa: SLF001 - under test


def test_stock_commits_past_a_record_that_an_actor_still_holds_and_loses_it(run: Run) -> None:
    async def scenario() -> None:
        await _send(run, b"stick", *[b"x"] * 20)
        _stock(run, "sticks", "pair")
        await _until_committed(run, 21)
        await _lost_for_good(run, offset=0, behind=21)

    asyncio.run(scenario())


def test_ours_ends_when_a_batch_stays_undone_and_loses_nothing(run: Run) -> None:
    async def scenario() -> None:
        await _send(run, *[b"x"] * 200)
        worker = run.start(counting_bug="skipped_batch", worker_batch_records="20")
        assert await worker.ended() == 1
        assert "a batch between 0 and" in worker.said()
        assert set((await run.committed()).values()) == {0}
        run.start()
        await run.drained()
        await run.check()

    asyncio.run(scenario())


# -- 2: a flush that is no barrier ------------------------------------------------


def test_stock_flush_returns_while_messages_are_unsent() -> None:
    async def scenario() -> tuple[int, int]:
        buffer = ProducerBuffer()
        buffer.app = cast("Any", SimpleNamespace(conf=SimpleNamespace(producer_threaded=False)))
        for _ in range(3):
            buffer.put(cast("Any", object()))
        # Nobody sends: the service that would is not started.
        cast("Any", buffer)._started.set()  # noqa: SLF001 - mode's flag of a running service
        return await buffer.flush_atmost(None), buffer.size

    assert asyncio.run(scenario()) == (0, 3)


def test_stock_commits_the_offset_of_an_output_that_was_never_sent(run: Run) -> None:
    async def scenario() -> None:
        await _send(run, *[b"x"] * 10)
        _topic_away(run)
        _stock(run, "buffers")
        await _until_committed(run, 10)
        run.workers[-1].kill()
        _topic_back(run)
        await _lost_for_good(run, offset=0, behind=10)

    asyncio.run(scenario())


def test_ours_names_the_missing_topic_and_commits_nothing(run: Run) -> None:
    async def scenario() -> None:
        await _send(run, *[b"x"] * 10)
        _topic_away(run)
        worker = run.start()
        assert await worker.ended() == PartMissing.exit_status
        assert f"{run.prefix}.out" in worker.said().splitlines()[-1]
        assert set((await run.committed()).values()) == {0}
        _topic_back(run)
        run.start()
        await run.drained()
        await run.check()

    asyncio.run(scenario())


def test_ours_commits_nothing_until_the_output_is_acked(spare: SpareBroker, spare_run: Run) -> None:
    run = spare_run

    async def scenario() -> None:
        await run.produce(600)
        worker = run.start(stop_at="worker.after_touches:2")
        await worker.stopped()
        before = await run.committed()
        # It goes on with outputs that nobody can ack: the broker stands still.
        spare.freeze()
        try:
            worker.signal(signal.SIGCONT)
            await asyncio.sleep(2)
            worker.kill()
        finally:
            spare.thaw()
        assert await run.committed() == before
        run.start()
        await run.drained()
        await run.check()

    asyncio.run(scenario())


def _topic_away(run: Run) -> None:
    admin = KafkaAdminClient(bootstrap_servers=run.kafka)
    admin.delete_topics([f"{run.prefix}.out"])
    admin.close()


def _topic_back(run: Run) -> None:
    admin = KafkaAdminClient(bootstrap_servers=run.kafka)
    admin.create_topics([NewTopic(f"{run.prefix}.out", PARTITIONS, 1)])
    admin.close()


# -- 3: a produce failure that nobody hears of ------------------------------------


def test_stock_commits_past_an_output_that_the_broker_refused(run: Run) -> None:
    async def scenario() -> None:
        run.configure("out", max_message_bytes="10000")
        await _send(run, b"big:20000", *[b"x"] * 10)
        worker = _stock(run)
        await _until_committed(run, 11)
        assert worker.alive
        run.configure("out", max_message_bytes="1000000")
        await _lost_for_good(run, offset=0, behind=11)

    asyncio.run(scenario())


def test_ours_ends_with_a_clear_message_when_an_output_is_refused(run: Run) -> None:
    async def scenario() -> None:
        run.configure("out", max_message_bytes="10000")
        await _send(run, b"big:20000", *[b"x"] * 10)
        worker = run.start()
        assert await worker.ended() == ConfigInvalid.exit_status
        last = worker.said().splitlines()[-1]
        assert last.startswith("ended: ")
        assert f"{run.prefix}.out" in last
        assert "max.message.bytes" in last
        assert set((await run.committed()).values()) == {0}
        assert not await run.read("out")
        run.configure("out", max_message_bytes="1000000")
        run.start()
        await run.drained()
        assert len(await run.read("out")) == 11

    asyncio.run(scenario())


# -- 4: an exception that acks ----------------------------------------------------


def test_stock_commits_past_a_record_whose_agent_raised(run: Run) -> None:
    async def scenario() -> None:
        await _send(run, *[b"x"] * 5, b"boom", *[b"x"] * 5)
        _stock(run, "raises")
        await _until_committed(run, 11)
        await _lost_for_good(run, offset=5, behind=11)

    asyncio.run(scenario())


def test_ours_commits_nothing_of_a_batch_whose_agent_raised(run: Run) -> None:
    async def scenario() -> None:
        await _send(run, *[b"x"] * 5, b"boom", *[b"x"] * 5)
        worker = run.start()
        assert await worker.ended() == 1
        assert "boom at 0:5" in worker.said()
        # The five before it were applied when it raised; half a batch must not show.
        assert set((await run.committed()).values()) == {0}
        assert not await run.read("out", committed_only=False)
        assert not await run.read("state", committed_only=False)

    asyncio.run(scenario())
