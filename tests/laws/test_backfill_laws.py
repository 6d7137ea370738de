"""Laws of rebuilt tags: what the record brings, with what came since, is what a full fold gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event, decode_event, encode_event
from streams.core.rebuild import Rebuilder, apply_rebuilt, is_rebuilt
from tests.engine_story import MINUTE_MS, USER, engine, event, feed
from tests.engine_story import minutes as at
from tests.laws.test_kinds_laws import ENGINE, RULEBOOK, TAGS, happenings

# The same ids by other definitions: what a state holds before a rulebook changes.
OLD = engine("""
declares: {order_paid: [sku]}
tags:
- {id: n, kind: count, event: order_paid}
- {id: n_1h, kind: count, event: "*", window: 3h}
- {id: gmv, kind: max, event: order_paid, value: properties.amount}
- {id: first, kind: first, event: order_paid, value: properties.sku}
- {id: hot, kind: flag, event: "*", ttl: 9h}
- {id: avg_1h, kind: avg, event: order_paid, value: properties.amount, window: 30m}
- {id: skus, kind: distinct, event: order_paid, value: properties.sku}
- {id: fav_now, kind: topk, event: order_paid, value: properties.sku, k: 3, half_life: 1h}
- {id: heat, kind: decay, event: order_paid, half_life: 2h}
- {id: by_sku, kind: per_key, event: order_paid, value: properties.sku}
- {id: rfm, kind: rfm, event: "*", value: properties.amount}
- {id: risk, kind: churn_risk, event: order_paid, rhythm: 9h}
""")
stories = st.lists(happenings(), max_size=12)


def record(tag: str, history: list[Event], upto: int) -> Event:
    made = Rebuilder(RULEBOOK, TAGS[tag], "run").record(USER, history, upto, at(500))
    return decode_event(encode_event(made))


@pytest.mark.parametrize("tag", TAGS)
@settings(max_examples=25)
@given(stories, stories, st.integers(0, 400))
def test_a_rebuilt_tag_and_what_came_since_is_a_fold_of_everything(
    tag: str, history: list[Event], since: list[Event], later_min: int
) -> None:
    state = OLD.load(None)
    feed(OLD, state, history)
    state = ENGINE.load(OLD.dump(state))
    apply_rebuilt(ENGINE, state, record(tag, history, len(history) - 1), len(history) - 1)
    state = ENGINE.load(ENGINE.dump(state))
    feed(ENGINE, state, since)
    whole = ENGINE.load(None)
    feed(ENGINE, whole, history + since)
    at_ms = at(500) + later_min * MINUTE_MS
    assert ENGINE.read_tag(state, tag, at_ms) == ENGINE.read_tag(whole, tag, at_ms)


@given(stories, st.lists(happenings(), min_size=1, max_size=4))
def test_a_record_that_an_event_overtook_changes_nothing(
    history: list[Event], overtook: list[Event]
) -> None:
    state = ENGINE.load(None)
    feed(ENGINE, state, history + overtook)
    before = ENGINE.dump(state)
    late = record("gmv", history, len(history) - 1)
    said = apply_rebuilt(ENGINE, state, late, len(history) + len(overtook) - 1)
    assert (said.tag_changes, ENGINE.dump(state)) == ([], before)


@given(stories)
def test_a_record_that_comes_twice_changes_nothing_the_second_time(history: list[Event]) -> None:
    state = OLD.load(None)
    feed(OLD, state, history)
    state = ENGINE.load(OLD.dump(state))
    upto = len(history) + 5
    apply_rebuilt(ENGINE, state, record("fav_now", history, upto), upto - 3)
    before = ENGINE.read_tags(state, at(600))
    assert apply_rebuilt(ENGINE, state, record("fav_now", history, upto), upto).tag_changes == []
    assert ENGINE.read_tags(state, at(600)) == before


def test_a_record_of_another_definition_or_by_a_door_is_none() -> None:
    history = [event("order_paid", m, amount=5) for m in range(3)]
    made = record("gmv", history, 9)
    assert is_rebuilt(made)
    state = OLD.load(None)
    assert apply_rebuilt(OLD, state, made, 0).tag_changes == []
    made.raw_offset = 7
    assert not is_rebuilt(made)
    assert ENGINE.on_event(ENGINE.load(None), made).tag_changes == []


def test_made_tags_follow_a_rebuilt_one() -> None:
    history = [event("order_paid", m, amount=600) for m in range(3)]
    state = ENGINE.load(None)
    changes = apply_rebuilt(ENGINE, state, record("gmv", history, 9), 0).tag_changes
    assert {(c.tag, c.before, c.after) for c in changes} >= {
        ("gmv", 0, 1800),
        ("worth", None, "high"),
    }
