import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deliver_harness import PATIENCE_S, Harness, harness, make_touch

pytestmark = [pytest.mark.integration, pytest.mark.faults]

POINTS = [
    "deliver.in_transaction",  # the first page is written, not committed
    "deliver.in_transaction:3",  # a page with answers is written, not committed
    "deliver.sending_committed",  # announced, not called
    "deliver.called:7",  # called and answered, nothing written
    "deliver.before_final",  # answers are on a page that was never begun
]


@pytest.fixture
def run(kafka: str, tmp_path: Path) -> Iterator[Harness]:
    with harness(kafka, tmp_path) as one:
        yield one


def _killed(run: Harness, process: subprocess.Popen[bytes]) -> None:
    assert run.await_end(process) == -signal.SIGKILL, run.log()


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_repeats_no_effect_and_loses_no_receipt(run: Harness, point: str) -> None:
    run.receiver()
    sent = [make_touch(["webhook", "log"]) for _ in range(60)]
    run.send(*sent)
    _killed(run, run.deliver(crash_at=point))
    receipts = run.settled(sent, run.deliver())
    assert {(r.status, r.channel) for r in receipts.values()} == {("sent", "webhook")}
    assert run.effects(sent) == dict.fromkeys((t.touch_id for t in sent), 1)


def test_a_channel_without_keys_is_never_called_twice_and_its_doubt_is_told(run: Harness) -> None:
    sent = [make_touch(["log"]) for _ in range(10)]
    run.send(*sent, partition=2)
    _killed(run, run.deliver(crash_at="deliver.before_final"))
    receipts = run.settled(sent, run.deliver())
    assert {(r.status, r.code) for r in receipts.values()} == {("unknown", "interrupted")}
    assert [run.log().count(touch.touch_id) for touch in sent] == [1] * len(sent)


def test_a_crash_between_two_channels_goes_on_with_the_second(run: Harness) -> None:
    run.receiver("--always", "410")
    sent = [make_touch(["webhook", "log"]) for _ in range(5)]
    run.send(*sent, partition=3)
    _killed(run, run.deliver(crash_at="deliver.sending_committed:2"))
    receipts = run.settled(sent, run.deliver())
    # Whether the log was reached before the kill nobody knows: never twice, never silent.
    assert {r.status for r in receipts.values()} <= {"unknown", "sent"}
    assert max(run.log().count(touch.touch_id) for touch in sent) <= 1
    assert {r.channel for r in receipts.values()} == {"log"}


def test_kill_9_again_and_again_still_ends_with_one_effect_each(run: Harness) -> None:
    run.receiver("--delay-ms", "5")
    sent = [make_touch(["webhook"]) for _ in range(300)]
    run.send(*sent)
    for point in ("deliver.called:40", "deliver.in_transaction:4", "deliver.called:20"):
        _killed(run, run.deliver(crash_at=point, deliver_concurrency="8"))
    receipts = run.settled(sent, run.deliver())
    assert {r.status for r in receipts.values()} == {"sent"}
    assert run.effects(sent) == dict.fromkeys((t.touch_id for t in sent), 1)


def test_a_frozen_sender_that_wakes_writes_nothing_over_its_successor(run: Harness) -> None:
    run.receiver("--delay-ms", "200")
    sent = [make_touch(["webhook"]) for _ in range(60)]
    run.send(*sent)
    zombie = run.deliver(deliver_concurrency="2")
    run.await_calls(sent)
    os.kill(zombie.pid, signal.SIGSTOP)
    successor = run.deliver()
    run.await_receipts(sent)
    os.kill(zombie.pid, signal.SIGCONT)
    # It is fenced off, or finds itself outside the group; either way it ends or starts afresh.
    more = [make_touch(["webhook"]) for _ in range(20)]
    run.send(*more)
    run.await_receipts(more)
    zombie.send_signal(signal.SIGTERM)
    zombie.wait(PATIENCE_S)
    receipts = run.settled([*sent, *more], successor)
    assert {r.status for r in receipts.values()} == {"sent"}
    assert run.effects(sent) == dict.fromkeys((t.touch_id for t in sent), 1)
