from collections.abc import Callable
from dataclasses import replace

import pytest

from deploy.demo.check import Counts, Expected, checks, expected, settled
from deploy.demo.messages import Callback, messages
from deploy.demo.senders import Tally

WANT = Expected(
    landed=90,
    rejected=10,
    refused=2,
    twins=3,
    unpaid=frozenset({"user_id:u1"}),
    followers=frozenset({"openid:wx:o1"}),
)
GOOD = Counts(
    landed=90,
    rejects={("validate", "bad_property"): 7, ("dedupe", "duplicate_message_id"): 3},
    decided={"cart_30m": WANT.unpaid, "welcome": WANT.followers},
    decisions={("cart_30m", "sent"): 1, ("welcome", "sent"): 1},
    touch_ids=frozenset({"t1", "t2"}),
    receipts=("t1", "t2"),
    receipt_status={("webhook", "sent"): 2},
)
DELIVERED = frozenset({"t1", "t2"})


def tally(accepted: int = 100, refused: int = 2, retried: int = 0) -> Tally:
    return Tally(accepted=accepted, refused=refused, retried=retried)


def failing(counts: Counts, told: Tally, delivered: frozenset[str] = DELIVERED) -> set[str]:
    found = checks(counts, WANT, told, delivered=delivered)
    return {name for name, holds in found.items() if not holds}


def test_a_good_run_passes_every_check() -> None:
    assert failing(GOOD, tally()) == set()
    assert settled(GOOD, WANT, tally())


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lambda c: replace(c, landed=89), "accepted_equals_landed_plus_rejected"),
        (lambda c: replace(c, landed=91), "landed_as_the_seed_made_them"),
        (lambda c: replace(c, redelivered=1), "only_unanswered_items_were_stored_twice"),
        (lambda c: replace(c, later=1), "nothing_failed_after_landing"),
        (lambda c: replace(c, decided={}), "every_unpaid_cart_was_decided"),
        (lambda c: replace(c, decided={}), "every_follower_was_decided"),
        (lambda c: replace(c, receipts=("t1",)), "each_touch_has_one_receipt"),
        (lambda c: replace(c, receipts=("t1", "t2", "t2")), "each_touch_has_one_receipt"),
        (
            lambda c: replace(c, receipt_status={("webhook", "failed"): 2}),
            "every_receipt_says_sent",
        ),
    ],
)
def test_each_check_can_fail(spoil: Callable[[Counts], Counts], check: str) -> None:
    assert check in failing(spoil(GOOD), tally())


def test_a_touch_that_the_provider_never_saw_fails() -> None:
    assert "provider_saw_each_touch_once" in failing(GOOD, tally(), frozenset({"t1"}))


def test_a_forged_caller_who_got_in_fails() -> None:
    assert "forged_callers_were_refused" in failing(GOOD, tally(refused=1))


def test_a_resend_without_an_answer_may_be_stored_twice_and_counts_once() -> None:
    twice = {**GOOD.rejects, ("dedupe", "duplicate_message_id"): 3 + 5}
    assert failing(replace(GOOD, rejects=twice, redelivered=5), tally(retried=100)) == set()


def test_the_day_is_not_over_while_a_touch_waits_for_its_receipt() -> None:
    assert not settled(replace(GOOD, receipts=("t1",)), WANT, tally())


def test_the_seed_tells_who_must_be_decided() -> None:
    day = messages(users=60, seed=7, now_ms=1_790_000_000_000)
    want = expected(day, "wxofficial")
    assert want.landed + want.rejected + want.refused == len(day)
    assert any(user.startswith("user_id:") for user in want.unpaid)
    follows = [
        message.xml
        for message in day
        if isinstance(message, Callback)
        and message.fate == "lands"
        and b"[subscribe]" in message.xml
    ]
    assert len(want.followers) == len(follows)
    assert all(user.startswith("openid:wxofficial:o") for user in want.followers)
