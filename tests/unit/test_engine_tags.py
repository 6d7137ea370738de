import msgspec
import pytest

from streams.core.engine import Engine
from streams.core.state.cells import StateUnreadable
from tests.engine_story import DAY_MS, HOUR_MS, USER, engine, event, feed, minutes

TAGS = """
tags:
- {id: views, kind: count, event: product_viewed}
- {id: view_1h, kind: count, event: product_viewed, window: 1h}
- {id: gmv, kind: sum, event: order_paid, value: properties.amount}
- {id: gmv_1h, kind: sum, event: order_paid, value: properties.amount, window: 1h}
- {id: last_sku, kind: last, event: product_viewed, value: properties.sku}
- {id: first_sku, kind: first, event: "*", value: properties.sku}
- id: sensitive
  kind: flag
  when: {event: coupon_used, where: {properties.amount: {gte: 5}}}
  ttl: 1h
- id: follower
  kind: flag
  event: official_account_followed
  until: {event: official_account_unfollowed}
"""
ENGINE = engine(TAGS)


def test_tags_follow_the_events() -> None:
    state = ENGINE.load(None)
    feed(
        ENGINE,
        state,
        [
            event("product_viewed", 0, sku="a"),
            event("product_viewed", 1, sku="b"),
            event("order_paid", 2, amount=19.9),
            event("order_paid", 3, amount=0.1),
            event("coupon_used", 4, coupon_id="c", amount=5),
        ],
    )
    assert ENGINE.read_tags(state, minutes(5)) == {
        "views": 2,
        "view_1h": 2,
        "gmv": 20,
        "gmv_1h": 20,
        "last_sku": "b",
        "first_sku": "a",
        "sensitive": True,
        "follower": False,
    }


def test_counts_sums_and_flags_of_nothing_read_nought_and_picks_are_missing() -> None:
    assert ENGINE.read_tags(ENGINE.load(None), minutes(0)) == {
        "views": 0,
        "view_1h": 0,
        "gmv": 0,
        "gmv_1h": 0,
        "sensitive": False,
        "follower": False,
    }


def test_a_change_tells_before_after_and_the_event() -> None:
    views = [event("product_viewed", 0, sku="a"), event("product_viewed", 1, sku="a")]
    runs = [feed(ENGINE, ENGINE.load(None), views).tag_changes for _ in range(2)]
    assert runs[0] == runs[1]
    seen = [(c.tag, c.before, c.after, c.message_id) for c in runs[0]]
    first, second = (view.message_id for view in views)
    assert seen == [
        ("views", 0, 1, first),
        ("view_1h", 0, 1, first),
        ("last_sku", None, "a", first),
        ("first_sku", None, "a", first),
        ("views", 1, 2, second),
        ("view_1h", 1, 2, second),
    ]


def test_an_older_event_that_comes_late_moves_first_but_not_last() -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, [event("product_viewed", 5, sku="b"), event("product_viewed", 1, sku="a")])
    tags = ENGINE.read_tags(state, minutes(5))
    assert (tags["first_sku"], tags["last_sku"]) == ("a", "b")


def test_a_flag_expires_by_its_timer_at_its_time() -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, [event("coupon_used", 0, coupon_id="c", amount=9)])
    assert ENGINE.next_timer_ms(state) == minutes(60)
    assert ENGINE.read_tag(state, "sensitive", minutes(60) - 1) is True
    assert ENGINE.read_tag(state, "sensitive", minutes(60)) is False
    assert not ENGINE.on_timers(state, USER, minutes(60) - 1).tag_changes
    (change,) = ENGINE.on_timers(state, USER, minutes(70)).tag_changes
    assert (change.tag, change.before, change.after) == ("sensitive", True, False)
    assert (change.time_ms, change.message_id) == (minutes(60), "")
    assert ENGINE.next_timer_ms(state) is None


def test_a_flag_that_is_set_again_expires_from_the_later_time() -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, [event("coupon_used", m, coupon_id="c", amount=9) for m in (30, 0)])
    assert not ENGINE.on_timers(state, USER, minutes(60)).tag_changes
    (change,) = ENGINE.on_timers(state, USER, minutes(90)).tag_changes
    assert change.time_ms == minutes(90)


def test_a_flag_is_off_from_its_until_event_by_event_time() -> None:
    follow, leave = "official_account_followed", "official_account_unfollowed"
    state = ENGINE.load(None)
    feed(ENGINE, state, [event(leave, 10), event(follow, 5)])
    assert ENGINE.read_tag(state, "follower", minutes(11)) is False
    changes = feed(ENGINE, state, [event(follow, 12)]).tag_changes
    assert [c.after for c in changes] == [True]


def test_a_window_that_empties_is_written_by_its_timer() -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, [event("product_viewed", 0, sku="a")])
    due_ms = ENGINE.next_timer_ms(state)
    assert due_ms is not None
    assert minutes(60) <= due_ms <= minutes(61)
    (change,) = ENGINE.on_timers(state, USER, due_ms).tag_changes
    assert (change.tag, change.before, change.after, change.time_ms) == ("view_1h", 1, 0, due_ms)
    assert ENGINE.next_timer_ms(state) is None


def test_a_window_that_shrinks_is_right_when_read_and_written_at_the_next_event() -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, [event("product_viewed", m, sku="a") for m in (0, 40)])
    assert ENGINE.read_tag(state, "view_1h", minutes(90)) == 1
    assert not feed(ENGINE, state, [event("app_started", 90)]).tag_changes
    changes = feed(ENGINE, state, [event("product_viewed", 95, sku="a")]).tag_changes
    assert [(c.tag, c.before, c.after) for c in changes][:1] == [("views", 2, 3)]
    assert ENGINE.read_tag(state, "view_1h", minutes(95)) == 2


@pytest.mark.parametrize("amount", [None, "19.9", True, [1], {"a": 1}])
def test_what_is_no_number_does_not_add_up_and_does_not_crash(amount: object) -> None:
    state = ENGINE.load(None)
    changes = feed(ENGINE, state, [event("order_paid", 0, amount=amount)]).tag_changes
    assert changes == []
    assert len(state.tags) == 0


@pytest.mark.parametrize("huge", [10**40, -(10**40), 1e308, 2**63])
def test_huge_numbers_are_cut_and_can_be_packed(huge: float) -> None:
    state = ENGINE.load(None)
    days = [event("order_paid", m, amount=huge, sku=huge) for m in range(2000)]
    days.append(event("product_viewed", 1, sku=huge))
    feed(ENGINE, state, days)
    again = ENGINE.load(ENGINE.dump(state))
    assert ENGINE.read_tags(again, minutes(1)) == ENGINE.read_tags(state, minutes(1))


def test_a_clock_that_runs_ahead_cannot_put_an_event_after_its_arrival() -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, [event("product_viewed", 10**9, received_min=0, sku="a")])
    assert state.latest_ms == minutes(0)


def test_long_texts_are_cut_and_the_state_stays_small() -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, [event("product_viewed", 0, sku="语" * 10_000)])
    assert len(ENGINE.dump(state)) < 2000


def test_removed_and_changed_tags_do_not_break_loading() -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, [event("product_viewed", m, sku="a") for m in (0, 1)])
    packed = ENGINE.dump(state)
    changed = engine(
        "tags:\n"
        "- {id: view_1h, kind: count, event: product_viewed, window: 2h}\n"
        "- {id: views, kind: last, event: product_viewed, value: properties.sku}\n"
        "- {id: fresh, kind: count, event: product_viewed}\n"
    )
    state = changed.load(packed)
    assert changed.read_tags(state, minutes(2)) == {"view_1h": 2, "fresh": 0}
    feed(changed, state, [event("product_viewed", 2, sku="a")])
    changed.on_timers(state, USER, minutes(2) + DAY_MS)
    back = ENGINE.load(changed.dump(state))
    assert ENGINE.read_tag(back, "last_sku", minutes(2)) == "a"


def test_a_state_that_nobody_can_read_is_an_error() -> None:
    for packed in (b"\xc1", b"", ENGINE.dump(ENGINE.load(None))[:3], msgspec.msgpack.encode([3])):
        with pytest.raises(StateUnreadable):
            ENGINE.load(packed)


def test_only_tags_of_an_event_cost_and_star_takes_all() -> None:
    running: Engine = engine(
        'tags:\n- {id: all, kind: count, event: "*"}\n'
        "- {id: views, kind: count, event: product_viewed}"
    )
    state = running.load(None)
    feed(running, state, [event("never_heard_of", 0), event("product_viewed", 1, sku="a")])
    assert running.read_tags(state, minutes(1)) == {"all": 2, "views": 1}


def test_a_tag_is_read_right_at_an_earlier_time_too() -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, [event("coupon_used", 0, coupon_id="c", amount=9)])
    feed(ENGINE, state, [event("product_viewed", m, sku="a") for m in (0, 55)])
    feed(ENGINE, state, [event("app_started", 100)])
    assert ENGINE.read_tag(state, "sensitive", minutes(59)) is True
    assert ENGINE.read_tag(state, "view_1h", minutes(56)) == 2
    assert ENGINE.read_tag(state, "view_1h", minutes(0) + 2 * HOUR_MS) == 0
