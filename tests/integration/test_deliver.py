from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import topics
from schemas.events import decode_event
from schemas.rejects import decode_rejected
from tests.deliver_harness import Harness, harness, make_touch

pytestmark = pytest.mark.integration


@pytest.fixture
def run(kafka: str, tmp_path: Path) -> Iterator[Harness]:
    with harness(kafka, tmp_path) as one:
        yield one


def test_each_touch_reaches_the_provider_once_and_gets_one_receipt(run: Harness) -> None:
    run.receiver()
    sent = [make_touch(["webhook", "log"]) for _ in range(200)]
    run.send(*sent, *sent[:50])
    receipts = run.settled(sent, run.deliver())
    assert {r.status for r in receipts.values()} == {"sent"}
    assert {r.channel for r in receipts.values()} == {"webhook"}
    assert set(run.effects(sent).values()) == {1}
    assert len(run.effects(sent)) == len(run.calls(sent)) == len(sent)


def test_a_touch_that_comes_again_later_is_not_sent_again(run: Harness) -> None:
    run.receiver()
    first, later = [make_touch(["webhook"]) for _ in range(20)], make_touch(["webhook"])
    run.send(*first, partition=1)
    run.settled(first, run.deliver())
    # The second sender knows them from the ledger alone.
    run.send(*first, later, partition=1)
    run.settled([later], run.deliver())
    assert len(run.calls(first)) == len(run.receipts(first)) == len(first)


def test_a_provider_in_trouble_is_tried_again_with_the_same_key(run: Harness) -> None:
    run.receiver("--fail-first", "2", "--trouble", "500")
    sent = [make_touch(["webhook"]) for _ in range(10)]
    run.send(*sent)
    receipts = run.settled(sent, run.deliver())
    assert {(r.status, r.attempts) for r in receipts.values()} == {("sent", 3)}
    assert set(run.effects(sent).values()) == {1}


def test_a_lost_answer_does_not_repeat_the_effect(run: Harness) -> None:
    run.receiver("--fail-first", "1", "--trouble", "silent-accept")
    sent = [make_touch(["webhook"]) for _ in range(5)]
    run.send(*sent)
    receipts = run.settled(sent, run.deliver(deliver_timeout_s="0.5"))
    assert {(r.status, r.attempts) for r in receipts.values()} == {("sent", 2)}
    assert set(run.effects(sent).values()) == {1}


def test_a_touch_that_may_have_arrived_ends_unknown_and_tries_no_other_channel(
    run: Harness,
) -> None:
    run.receiver("--fail-first", "9", "--trouble", "silent-accept")
    sent = [make_touch(["webhook", "log"])]
    run.send(*sent)
    limits = {"deliver_timeout_s": "0.5", "deliver_max_attempts": "2"}
    (receipt,) = run.settled(sent, run.deliver(**limits)).values()
    assert (receipt.status, receipt.channel, receipt.code) == ("unknown", "webhook", "timeout")


def test_a_refused_touch_goes_to_the_next_channel(run: Harness) -> None:
    run.receiver("--always", "410")
    falls, stays = make_touch(["webhook", "log"]), make_touch(["webhook"])
    run.send(falls, stays)
    receipts = run.settled([falls, stays], run.deliver())
    assert receipts[falls.touch_id].status == "sent"
    assert receipts[falls.touch_id].channel == "log"
    assert receipts[stays.touch_id].status == "failed"
    assert receipts[stays.touch_id].code == "http_410"
    assert run.log().count(falls.touch_id) == 1


def test_a_failed_touch_comes_back_as_an_event_of_its_user_and_a_sent_one_does_not(
    run: Harness,
) -> None:
    failing, going = make_touch(["pigeon"]), make_touch(["log"])
    run.send(failing, going)
    run.settled([failing, going], run.deliver())
    found = map(decode_event, run.read(topics.EVENTS.name))
    of = {failing.touch_id, going.touch_id}
    events = [one for one in found if one.properties.get("touch_id") in of]
    assert [(one.event, one.user) for one in events] == [("touch_failed", failing.user)]
    told = events[0].properties
    assert (told["touch_id"], told["channel"]) == (failing.touch_id, "pigeon")
    assert told["template"] == failing.template


def test_an_unreachable_provider_uses_up_its_attempts_then_the_next_channel(
    run: Harness,
) -> None:
    run.receiver()
    run.running[-1].kill()
    run.running[-1].wait()
    falls, stays = make_touch(["webhook", "log"]), make_touch(["webhook"])
    run.send(falls, stays)
    receipts = run.settled([falls, stays], run.deliver(deliver_max_attempts="3"))
    assert (receipts[falls.touch_id].channel, receipts[falls.touch_id].attempts) == ("log", 4)
    failed = receipts[stays.touch_id]
    assert (failed.status, failed.code, failed.attempts) == ("failed", "unreachable", 3)


def test_unknown_and_unconfigured_channels_are_passed_over_and_named(run: Harness) -> None:
    passed, stuck = make_touch(["pigeon", "webhook", "log"]), make_touch(["pigeon"])
    alone, none = make_touch(["webhook"]), make_touch([])
    sent = [passed, stuck, alone, none]
    run.send(*sent)
    receipts = run.settled(sent, run.deliver())
    assert (receipts[passed.touch_id].status, receipts[passed.touch_id].channel) == ("sent", "log")
    codes = [receipts[t.touch_id].code for t in (stuck, alone, none)]
    assert codes == ["unknown_channel", "not_configured", "no_channel"]


def test_what_is_no_touch_is_rejected_with_its_bytes_and_harms_nobody(run: Harness) -> None:
    good = make_touch(["log"])
    nameless = make_touch(["log"], touch_id="", properties={"mark": good.touch_id})
    mark = good.touch_id.encode()
    bad = [
        b"not json " + mark,
        b'{"touchId": "' + mark + b'"}',
        b"[" * 100_000 + mark,
        b'{"touchId": "\\ud800", "x": "' + mark + b'"}',
        b"\x00\xff" + mark,
    ]
    huge = make_touch(["log"], properties={"mark": good.touch_id, "x": "x" * 600_000})
    run.send(*bad, nameless, huge, good)
    run.settled([good], run.deliver())
    stored = map(decode_rejected, run.read(topics.REJECTED.name))
    mine = [one for one in stored if mark in one.body]
    assert {one.stage for one in mine} == {"deliver"}
    assert {one.body for one in mine} >= set(bad)
    assert {one.reason for one in mine} == {"not_a_touch", "no_touch_id", "touch_too_large"}


def test_a_slow_touch_holds_up_no_other_of_its_partition(run: Harness) -> None:
    run.receiver("--fail-first", "1", "--trouble", "429")
    slow = make_touch(["webhook"])
    quick = [make_touch(["log"]) for _ in range(20)]
    run.send(slow, *quick, partition=0)
    receipts = run.settled([slow, *quick], run.deliver())
    last_quick_ms = max(receipts[t.touch_id].time_ms for t in quick)
    assert last_quick_ms < receipts[slow.touch_id].time_ms


def test_two_senders_share_the_partitions_and_hand_over_without_a_double(run: Harness) -> None:
    run.receiver("--delay-ms", "20")
    sent = [make_touch(["webhook"]) for _ in range(600)]
    first = run.deliver(deliver_concurrency="4")
    run.send(*sent[:300])
    run.await_calls(sent)
    second = run.deliver(deliver_concurrency="4")
    run.send(*sent[300:])
    run.await_receipts(sent[:300])
    run.stop(first)
    receipts = run.settled(sent, second)
    # They shared, two and two, and the second took all four when the first had gone.
    assert run.log().count("partition taken") >= 8
    assert {r.status for r in receipts.values()} == {"sent"}
    assert len(run.effects(sent)) == len(run.calls(sent)) == len(sent)


def test_sigterm_during_calls_loses_nothing(run: Harness) -> None:
    run.receiver("--delay-ms", "300")
    sent = [make_touch(["webhook"]) for _ in range(100)]
    run.send(*sent)
    first = run.deliver(deliver_concurrency="8")
    run.await_calls(sent)
    run.stop(first)
    called = [touch for touch in sent if touch.touch_id in run.effects(sent)]
    assert 0 < len(called) < len(sent)
    assert {r.touch_id for r in run.receipts(sent)} == {touch.touch_id for touch in called}
    run.settled(sent, run.deliver())
    assert set(run.effects(sent).values()) == {1}
    assert len(run.calls(sent)) == len(sent)


def test_without_transactions_each_touch_still_has_its_receipt(run: Harness) -> None:
    run.receiver()
    sent = [make_touch(["webhook", "log"]) for _ in range(50)]
    run.send(*sent)
    receipts = run.settled(sent, run.deliver(kafka_transactions="false"))
    assert {r.status for r in receipts.values()} == {"sent"}
    assert len(run.effects(sent)) == len(sent)


def test_no_broker_ends_with_a_clear_message_and_status_3(run: Harness) -> None:
    process = run.deliver(kafka="127.0.0.1:1")
    assert run.await_end(process) == 3
    assert "kafka: 127.0.0.1:1 does not answer" in run.log()
    assert "siyu up" in run.log()


def test_a_wrong_webhook_address_is_told_at_the_start(run: Harness) -> None:
    process = run.deliver(webhook_url="ftp://example.invalid/")
    assert run.await_end(process) == 2
    assert "SIYU_WEBHOOK_URL" in run.log()
