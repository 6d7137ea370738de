"""Events that others overtook on their way to the lane: an outage, a backlog that drains."""

import msgspec
import pytest

from schemas.events import Event
from schemas.settings import ROOT
from streams.authoring.load import load_rulebook
from streams.core.engine import Engine
from streams.core.replay import decisions_of
from tests.engage_lane import LiveRun, clocked
from tests.engine_story import MINUTE_MS, T0_MS, event

ENGINE = Engine(load_rulebook(ROOT / "deploy/rulebook"))
# A cart of an hour ago and its payment arrived together; what others did 20 s later came first.
OVERTOOK = msgspec.structs.replace(event("product_viewed", 60, received_min=60.33), user="b")
CART = event("cart_added", 0, received_min=60, mid="cart", cart_id="c", amount=99)
PAID = event("order_paid", 5, received_min=60, mid="paid", cart_id="c", amount=99)


def decided(run: LiveRun) -> list[str]:
    return [one.outcome for one in run.lane.decisions if one.rule == "cart_30m"]


def replayed(events: list[Event], until_min: float) -> list[str]:
    mine = [one for one in clocked(events) if one.user == CART.user]
    until_ms = T0_MS + round(until_min * MINUTE_MS)
    said, _ = decisions_of(ENGINE, CART.user, mine, until_ms)
    return [one.outcome for _, one in said if one.rule == "cart_30m"]


@pytest.mark.parametrize("cuts", [[], [1], [1, 2], [2]])
def test_a_cart_and_its_payment_are_not_parted_by_what_overtook_both(cuts: list[int]) -> None:
    log = [OVERTOOK, CART, PAID]
    run = LiveRun(ENGINE)
    for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        run.batch(log[start:end])
        run.tick()
    run.tick(T0_MS + 120 * MINUTE_MS)
    assert decided(run) == replayed(log, 120) == []


def test_a_cart_that_was_overtaken_and_stays_unpaid_is_decided_after_the_settle_time() -> None:
    run = LiveRun(ENGINE)
    run.batch([OVERTOOK, CART])
    run.tick(OVERTOOK.received_at_ms + 2_999)
    assert decided(run) == []
    run.tick(OVERTOOK.received_at_ms + 3_000)
    assert len(decided(run)) == 1
    assert decided(run) == replayed([OVERTOOK, CART], 120)
