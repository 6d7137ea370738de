"""Laws: a replay of the log decides what live decided, in any batches, ticks and partitions."""

from dataclasses import dataclass

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Event
from schemas.settings import ROOT
from schemas.touches import Decision
from streams.authoring.load import load_rulebook
from streams.core.decisions_only import decider
from streams.core.engine import Engine
from streams.core.replay import decisions_of
from tests.engage_lane import LiveRun, clocked
from tests.engine_story import HOUR_MS, MINUTE_MS, T0_MS, event, minutes

SHOP = load_rulebook(ROOT / "deploy/rulebook")
ENGINE, LEAN = Engine(SHOP), decider(SHOP)
UNTIL_MS = T0_MS + 400 * HOUR_MS
USERS = ("user_id:a", "user_id:b", "user_id:held-out-2")
NAMES = (
    "cart_added",
    "order_paid",
    "product_viewed",
    "official_account_followed",
    "official_account_unfollowed",
    "content_shared",
    "user_registered",
)


@dataclass(frozen=True)
class Story:
    """A partition's log, where it is cut into batches, and after which of them a tick comes."""

    log: list[Event]
    cuts: list[int]
    ticks: set[int]


@st.composite
def happenings(draw: st.DrawFn) -> Event:
    at_min = draw(st.integers(0, 20)) * 10
    # Around the end of a wait (30 min) and its settle time (3 s), and much later.
    late_min = draw(st.sampled_from((0.0, 0.0, 0.04, 0.06, 1.0, 31.0, 200.0)))
    made = event(
        draw(st.sampled_from(NAMES)),
        at_min,
        received_min=at_min + late_min,
        mid=f"m{draw(st.uuids())}",
        cart_id=draw(st.sampled_from(("c1", "c2"))),
        amount=99,
        sku="s1",
        category="skincare",
    )
    return msgspec.structs.replace(made, user=draw(st.sampled_from(USERS)))


@st.composite
def stories(draw: st.DrawFn) -> Story:
    log = draw(st.lists(happenings(), min_size=1, max_size=40))
    # The log is nearly in the order of arrival, as the partitions before it race a little.
    log.sort(key=lambda one: one.received_at_ms + draw(st.integers(-90_000, 90_000)))
    cuts = sorted(draw(st.sets(st.integers(0, len(log)))))
    return Story(log, cuts, draw(st.sets(st.integers(0, len(log)))))


def live(engine: Engine, story: Story) -> list[Decision]:
    run = LiveRun(engine)
    for start, end in zip([0, *story.cuts], [*story.cuts, len(story.log)], strict=True):
        run.batch(story.log[start:end])
        if end in story.ticks:
            run.tick()
    run.tick(UNTIL_MS)
    return run.lane.decisions


def replayed(engine: Engine, story: Story) -> list[Decision]:
    log, found = clocked(story.log), list[Decision]()
    for user in USERS:
        mine = [one for one in log if one.user == user]
        said, left_out = decisions_of(engine, user, mine, UNTIL_MS)
        assert not left_out
        found += [one for _, one in said]
    return found


def facts(decisions: list[Decision]) -> list[tuple[object, ...]]:
    return sorted(
        (d.decision_id, d.outcome, d.reason, d.time_ms, d.touch_id, d.variant) for d in decisions
    )


@given(stories())
def test_a_replay_of_the_log_decides_what_live_decided_in_any_batches(story: Story) -> None:
    assert facts(replayed(ENGINE, story)) == facts(live(ENGINE, story))


@given(stories())
def test_an_engine_for_decisions_alone_makes_the_same(story: Story) -> None:
    assert facts(replayed(LEAN, story)) == facts(replayed(ENGINE, story))


def test_an_order_that_comes_late_is_judged_by_the_lanes_time_and_not_by_other_timers() -> None:
    times = ((0, 0), (80, 80), (0, 200))
    orders = [event("order_paid", at, received_min=then, amount=99) for at, then in times]
    log = [msgspec.structs.replace(one, user=USERS[0]) for one in orders]
    # The old order makes the silence unusual at once; time alone would have, a little later.
    both = [facts(replayed(engine, Story(log, [], set()))) for engine in (LEAN, ENGINE)]
    assert both[0] == both[1]
    assert [reason for _, outcome, reason, *_ in both[0] if outcome == "exited"] == ["exit"]


def test_what_comes_after_its_wait_has_fired_changes_nothing_of_it() -> None:
    cart = event("cart_added", 0, cart_id="c1", amount=99, sku="s1")
    paid = event("order_paid", 29, received_min=31, cart_id="c1", amount=99, order_id="o1")
    # Half an hour and the settle time: three seconds.
    in_time = msgspec.structs.replace(paid, received_at_ms=minutes(30) + 2999)
    other = event("product_viewed", 30.5, sku="s2", category="hair")
    for log, outcomes in (
        ([cart, paid], ["sent"]),
        ([cart, in_time], []),
        # In time, but logged behind an event that arrived after the wait had fired.
        ([cart, msgspec.structs.replace(other, user="user_id:other"), in_time], ["sent"]),
    ):
        story = Story(log, [1], {1})
        for decisions in (live(ENGINE, story), _alone(log)):
            mine = [one.outcome for one in decisions if one.rule == "cart_30m"]
            assert mine[: len(outcomes)] == outcomes
            assert ("sent" in mine) == ("sent" in outcomes)


def _alone(log: list[Event]) -> list[Decision]:
    said, _ = decisions_of(
        ENGINE,
        log[0].user,
        [e for e in clocked(log) if e.user == log[0].user],
        minutes(30) + MINUTE_MS,
    )
    return [one for _, one in said]
