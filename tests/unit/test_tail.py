from typing import Any

import msgspec

from schemas import clock, topics
from schemas.events import Event
from schemas.raw import Envelope
from schemas.rejects import Reject, encode_rejected, rejected
from schemas.touches import Decision, Receipt, TagChanges, Touch, encode
from streams.commands.tail.follow import Follower, Wanted, headline

NOW_MS = clock.now_ms()
ENVELOPE = Envelope(door="segment", source="app", account="shop", received_at_ms=NOW_MS)


def story(user: str, event: str, number: int) -> list[tuple[str, bytes]]:
    """Return an event of a user and all that comes of it, in the order of the log."""
    canonical, message, touch = f"user_id:{user}", f"m{number}", f"t{number}"
    common: dict[str, Any] = {
        "rule": "r",
        "rule_version": "1",
        "user": canonical,
        "time_ms": NOW_MS,
    }
    one = Event(
        message_id=message,
        type="track",
        event=event,
        user=canonical,
        source="app",
        door="segment",
        account="shop",
        timestamp_ms=NOW_MS,
        received_at_ms=NOW_MS,
        identities={"user_id": user, "openid": f"wx1:{user}"},
    )
    change = TagChanges(user=canonical, changes=[("t", 0, 1)], time_ms=NOW_MS, message_id=message)
    decision = Decision(
        decision_id="d",
        outcome="sent",
        reason="passed",
        trigger_kind="event",
        trigger=message,
        touch_id=touch,
        **common,
    )
    sent = Touch(touch_id=touch, via=["log"], template="x", **common)
    receipt = Receipt(
        touch_id=f"{touch}-1", channel="log", template="x", status="sent", attempts=1, **common
    )
    body = f'{{"userId":"{user}","event":"{event}"}}'.encode()
    return [
        (topics.EVENTS.name, msgspec.json.encode(one)),
        (topics.TOUCHES.name, encode(sent)),
        (topics.TAGS.name, encode(change)),
        (topics.DECISIONS.name, encode(decision)),
        (topics.RECEIPTS.name, encode(receipt)),
        (
            topics.REJECTED.name,
            encode_rejected(rejected(Reject("validate", "bad_property", "x"), ENVELOPE, body)),
        ),
    ]


def shown(wanted: Wanted) -> list[dict[str, Any]]:
    follower = Follower(wanted)
    log = [
        *story("ann", "order_paid", 1),
        *story("ben", "cart_added", 2),
        *story("ann", "cart_added", 3),
    ]
    return [line for topic, value in log for line in follower.lines(topic, value, NOW_MS)]


def test_without_a_wish_all_is_shown() -> None:
    assert len(shown(Wanted())) == 18


def test_a_user_is_found_by_any_identifier() -> None:
    for name in ("ann", "user_id:ann", "wx1:ann"):
        lines = shown(Wanted(user=name))
        assert {line.get("user") for line in lines if "user" in line} == {"user_id:ann"}, name
        assert sum("user" in line for line in lines) == 10, name


def test_an_event_brings_what_came_of_it_and_nothing_else() -> None:
    lines = shown(Wanted(event="order_paid"))
    assert len(lines) == 6
    assert {line.get("user", "user_id:ann") for line in lines} == {"user_id:ann"}


def test_both_wishes_hold_together() -> None:
    assert len(shown(Wanted(user="ann", event="cart_added"))) == 6


def test_rejects_alone_can_be_asked_for() -> None:
    assert {line["topic"] for line in shown(Wanted(rejected=True))} == {"events.rejected"}
    assert len(shown(Wanted(user="ben", rejected=True))) == 1


def test_what_no_contract_reads_is_passed_over() -> None:
    assert Follower(Wanted()).lines(topics.EVENTS.name, b"\xff", NOW_MS) == []


def test_every_line_has_a_headline() -> None:
    kinds = {headline(line)[0] for line in shown(Wanted())}
    assert kinds == {"event", "rejected", "tag", "decision", "touch", "receipt"}
