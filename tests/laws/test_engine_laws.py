from itertools import combinations
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from schemas.touches import Decision
from streams.core.engine import Engine
from streams.core.state.user import State
from tests.engine_story import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    USER,
    add,
    engine,
    event,
    feed,
    minutes,
    read_in_each_order,
)

BOOK = """
tags:
- {id: n, kind: count, event: "*"}
- {id: n_1h, kind: count, event: "*", window: 1h}
- {id: gmv, kind: sum, event: order_paid, value: properties.amount}
- {id: gmv_3h, kind: sum, event: order_paid, value: properties.amount, window: 3h}
- {id: last, kind: last, event: "*", value: properties.sku}
- {id: first, kind: first, event: "*", value: properties.sku}
- {id: hot, kind: flag, event: product_viewed, ttl: 2h}
- {id: buyer, kind: flag, event: order_paid, until: {event: cart_added}}
policies: {caps: {m: [{max: 2, per: 2h}]}}
rules:
- id: cooled
  trigger: {event: [order_paid, product_viewed]}
  audience: {tag.n: {gte: 1}}
  reentry: {cooldown: 1h}
  steps: [{send: {via: [log], template: t}}]
- id: capped
  trigger: {count: {event: product_viewed, n: 2, within: 1h}}
  guard: {cap: m, holdout: 0}
  variants: [{id: a, weight: 1}, {id: b, weight: 1}]
  steps: [{send: {via: [log], template: t}}]
- id: waits
  trigger:
    absence:
      after: {event: cart_added}
      none: {event: order_paid, join: [properties.cart_id]}
      within: 30m
  steps: [{send: {via: [log], template: t}}]
"""
ENGINE = engine(BOOK)
NAMES = ("order_paid", "product_viewed", "cart_added", "app_started")
LATER_MS = minutes(0) + 2 * DAY_MS


@st.composite
def happenings(draw: st.DrawFn) -> Event:
    return event(
        draw(st.sampled_from(NAMES)),
        # Some in one millisecond: then, too, the order of arrival must not matter.
        draw(st.sampled_from([0, 30, 60]) | st.integers(0, 400)),
        received_min=500,
        amount=draw(st.one_of(st.floats(-1e4, 1e4), st.integers(-100, 100))),
        sku=draw(st.sampled_from(["a", "b", "c"])),
        cart_id=draw(st.sampled_from(["c1", "c2"])),
    )


stories = st.lists(happenings(), max_size=25)


def shuffled(story: st.SearchStrategy[list[Event]]) -> st.SearchStrategy[tuple[list[Event], ...]]:
    return story.flatmap(lambda one: st.tuples(st.just(one), st.permutations(one)))


@given(shuffled(stories), st.integers(0, 100))
def test_tags_do_not_depend_on_the_order_of_arrival(
    both: tuple[list[Event], list[Event]], later_min: int
) -> None:
    one, other = read_in_each_order(ENGINE, both, later_min)
    assert one == other


@given(stories, st.integers(0, 300))
def test_a_window_holds_what_it_says_give_or_take_a_tile(story: list[Event], late: int) -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, story)
    at_ms, tile_ms = state.latest_ms + late * MINUTE_MS, HOUR_MS // 96 + 1
    ages = [at_ms - one.timestamp_ms for one in story]
    surely = sum(0 <= age < HOUR_MS for age in ages)
    at_most = sum(-tile_ms < age < HOUR_MS + tile_ms for age in ages)
    read = ENGINE.read_tag(state, "n_1h", at_ms)
    assert isinstance(read, int)
    assert surely <= read <= at_most


@given(stories)
def test_the_changes_of_a_tag_lead_to_its_value(story: list[Event]) -> None:
    state = ENGINE.load(None)
    changes = feed(ENGINE, state, story).tag_changes
    changes += ENGINE.on_timers(state, USER, LATER_MS).tag_changes
    shown: dict[str, Any] = {"n": 0, "n_1h": 0, "gmv": 0, "gmv_3h": 0, "hot": False, "buyer": False}
    for change in changes:
        assert change.before == shown.get(change.tag)
        shown[change.tag] = change.after
    assert {tag: value for tag, value in shown.items() if value is not None} == (
        ENGINE.read_tags(state, LATER_MS)
    )
    told = {(change.message_id or change.time_ms, change.tag) for change in changes}
    assert len(told) == len(changes)


@given(stories)
def test_loading_and_dumping_change_nothing(story: list[Event]) -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, story)
    packed = ENGINE.dump(state)
    assert ENGINE.load(packed) == state
    assert ENGINE.dump(ENGINE.load(packed)) == packed


@given(stories, st.lists(st.booleans(), min_size=26, max_size=26))
def test_decisions_are_the_same_however_the_events_are_batched(
    story: list[Event], cuts: list[bool]
) -> None:
    def play(*, cut: bool) -> Any:  # noqa: ANN401 - all effects, to compare
        state = ENGINE.load(None)
        total = feed(ENGINE, state, [])
        for one, here in zip(story, cuts, strict=False):
            if cut and here:
                state = ENGINE.load(ENGINE.dump(state))
            add(total, ENGINE.on_event(state, one))
        state = ENGINE.load(ENGINE.dump(state)) if cut and cuts[-1] else state
        add(total, ENGINE.on_timers(state, USER, LATER_MS - DAY_MS))
        return total

    assert play(cut=True) == play(cut=False)


def sent(decisions: list[Decision], rule: str) -> list[int]:
    return [one.time_ms for one in decisions if one.rule == rule and one.outcome == "sent"]


@given(stories)
def test_nothing_is_sent_inside_a_cooldown(story: list[Event]) -> None:
    decisions = feed(ENGINE, ENGINE.load(None), story).decisions
    times = sent(decisions, "cooled")
    assert all(abs(a - b) >= HOUR_MS for a, b in combinations(times, 2))
    triggers = [one for one in story if one.event in ("order_paid", "product_viewed")]
    assert bool(times) is bool(triggers)


@given(stories)
def test_a_cap_is_never_passed_in_any_stretch_of_its_length(story: list[Event]) -> None:
    times = sent(feed(ENGINE, ENGINE.load(None), story).decisions, "capped")
    assert all(sum(start <= t < start + 2 * HOUR_MS for t in times) <= 2 for start in times)


@given(stories)
def test_each_trigger_has_one_decision_and_each_sent_one_its_touch(story: list[Event]) -> None:
    state = ENGINE.load(None)
    total = feed(ENGINE, state, story)
    add(total, ENGINE.on_timers(state, USER, LATER_MS - DAY_MS))
    ids = [one.decision_id for one in total.decisions]
    assert len(set(ids)) == len(ids)
    touched = [one.touch_id for one in total.decisions if one.outcome == "sent"]
    assert touched == [one.touch_id for one in total.touches]
    assert len(set(touched)) == len(touched)
    assert state.timers == []


def should_fire(story: list[Event]) -> set[tuple[str, int]]:
    """Say, with all of the story at hand, which waits end in a decision, and when."""

    def times(name: str, cart: str) -> list[int]:
        return [
            one.timestamp_ms
            for one in story
            if one.event == name and one.properties["cart_id"] == cart
        ]

    wait_ms = 30 * MINUTE_MS
    return {
        (cart, start + wait_ms)
        for cart in ("c1", "c2")
        for start in times("cart_added", cart)
        if not any(start <= paid <= start + wait_ms for paid in times("order_paid", cart))
        and not any(start < again <= start + wait_ms for again in times("cart_added", cart))
    }


crowded = st.lists(
    happenings().filter(lambda one: one.event in ("order_paid", "cart_added")), max_size=15
)


@settings(max_examples=300)
@given(crowded.flatmap(st.permutations))
def test_an_absence_fires_iff_nothing_came_whatever_the_order_of_arrival(
    story: list[Event],
) -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, story)
    touches = ENGINE.on_timers(state, USER, minutes(600)).touches
    fired = {(one.properties["cart_id"], one.time_ms) for one in touches if one.rule == "waits"}
    assert fired == should_fire(story)


@given(crowded)
def test_an_absence_fires_the_same_when_timers_run_as_time_goes_by(story: list[Event]) -> None:
    state: State = ENGINE.load(None)
    total = feed(ENGINE, state, [])
    for one in sorted(story, key=lambda one: one.timestamp_ms):
        one.received_at_ms = one.timestamp_ms
        # What arrives in the millisecond of a timer is there before it.
        add(total, ENGINE.on_timers(state, USER, one.timestamp_ms - 1))
        add(total, ENGINE.on_event(state, one))
    add(total, ENGINE.on_timers(state, USER, minutes(600)))
    fired = {(t.properties["cart_id"], t.time_ms) for t in total.touches if t.rule == "waits"}
    assert fired == should_fire(story)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
anything = st.recursive(
    plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
NASTY: Engine = engine(
    BOOK.replace("properties.sku", "properties.x.y").replace("properties.cart_id", "properties.sku")
    + "declares: {order_paid: [sku]}"
)


@given(
    st.lists(
        st.fixed_dictionaries({"sku": anything, "amount": anything, "x": anything}), max_size=6
    )
)
def test_no_property_breaks_the_engine_or_what_it_packs(bags: list[dict[str, Any]]) -> None:
    # As they come from the wire: what JSON cannot hold never gets here.
    wired = [msgspec.json.decode(msgspec.json.encode(bag)) for bag in bags]
    for running in (ENGINE, NASTY):
        state = running.load(None)
        feed(running, state, [event(name, 0, **bag) for bag in wired for name in NAMES])
        assert running.load(running.dump(state)) == state
