from typing import Any

import pytest

from schemas.errors import ConfigInvalid
from streams.core.engine import Engine
from tests.engine_story import DAY_MS, HOUR_MS, USER, add, book, engine, event, feed, minutes

DAY_MIN = 24 * 60


def read(text: str, events: list[Any], at_min: float) -> dict[str, object]:
    running = engine(text)
    state = running.load(None)
    feed(running, state, events)
    return running.read_tags(running.load(running.dump(state)), minutes(at_min))


def test_means_extremes_and_distinct_follow_the_events() -> None:
    text = """
tags:
- {id: avg, kind: avg, event: order_paid, value: properties.amount}
- {id: avg_1h, kind: avg, event: order_paid, value: properties.amount, window: 1h}
- {id: low, kind: min, event: order_paid, value: properties.amount}
- {id: low_1h, kind: min, event: order_paid, value: properties.amount, window: 1h}
- {id: top, kind: max, event: order_paid, value: properties.amount}
- {id: amounts, kind: distinct, event: order_paid, value: properties.amount}
"""
    paid = [event("order_paid", m, amount=v) for m, v in ((0, 10), (90, 25.5), (91, 25.5))]
    assert read(text, [*paid, event("order_paid", 92, amount="much")], 95) == {
        "avg": 20.3333,
        "avg_1h": 25.5,
        "low": 10,
        "low_1h": 25.5,
        "top": 25.5,
        "amounts": 3,
    }
    assert read(text, [], 0) == {"amounts": 0}


def test_a_preference_weighs_by_event_and_lets_the_old_fade() -> None:
    text = """
tags:
- id: ever
  kind: topk
  event: [product_viewed, order_paid]
  value: properties.sku
  k: 2
  weights: {order_paid: 5}
- {id: now, kind: topk, event: product_viewed, value: properties.sku, k: 2, half_life: 1d}
"""
    views = [event("product_viewed", m, sku="old") for m in range(4)]
    views += [event("product_viewed", 5 * DAY_MIN, sku="new")]
    views += [event("order_paid", 5 * DAY_MIN + 1, sku="paid")]
    assert read(text, views, 6 * DAY_MIN) == {"ever": ["paid", "old"], "now": ["new", "old"]}


def test_a_score_halves_in_its_half_life_and_is_gone_in_the_end() -> None:
    running = engine("tags: [{id: heat, kind: decay, event: app_started, half_life: 1h}]")
    state = running.load(None)
    feed(running, state, [event("app_started", m) for m in (0, 60)])
    reads = [running.read_tag(state, "heat", minutes(m)) for m in (60, 120, 180)]
    assert reads == [1.5, 0.75, 0.375]
    first_ms = running.next_timer_ms(state)
    assert first_ms is not None
    # That of the first event alone: since then there was another.
    assert not running.on_timers(state, USER, first_ms).tag_changes
    due_ms = running.next_timer_ms(state)
    assert due_ms == first_ms + HOUR_MS
    (change,) = running.on_timers(state, USER, due_ms).tag_changes
    assert (change.before, change.after, change.time_ms) == (1.5, 0, due_ms)


def test_counts_by_key_keep_those_seen_last() -> None:
    text = "tags: [{id: p, kind: per_key, event: product_viewed, value: properties.sku, keys: 2}]"
    views = [event("product_viewed", m, sku=sku) for m, sku in enumerate(["a", "a", "b", "c", "b"])]
    assert read(text, views, 9) == {"p": {"b": 2, "c": 1}}


STAGES = """
tags:
- id: cycle
  kind: stage
  stages:
  - {new: {since_first: {lt: 7d}}}
  - {active: {since_last: {lt: 14d}}}
  - {dormant: {since_last: {gte: 30d}}}
  else: cooling
"""


def test_time_alone_moves_a_stage_step_by_step_at_the_exact_times() -> None:
    running = engine(STAGES)
    state = running.load(None)
    said = feed(running, state, [event("app_started", 0)])
    due = running.next_timer_ms(state)
    assert due == minutes(7 * DAY_MIN)
    assert not running.on_timers(state, USER, due - 1).tag_changes
    add(said, running.on_timers(state, USER, due))
    # The timer that runs late says all that it missed, each with its own time.
    add(said, running.on_timers(state, USER, minutes(90 * DAY_MIN)))
    days = [(c.after, (c.time_ms - minutes(0)) // DAY_MS) for c in said.tag_changes]
    assert days == [("new", 0), ("active", 7), ("cooling", 14), ("dormant", 30)]
    assert running.next_timer_ms(state) is None
    back = feed(running, state, [event("app_started", 91 * DAY_MIN)]).tag_changes
    assert [(c.before, c.after) for c in back] == [("dormant", "active")]


def test_rfm_scores_fall_with_time_and_name_the_segment() -> None:
    text = "tags: [{id: rfm, kind: rfm, event: order_paid, value: properties.amount}]"
    running = engine(text)
    state = running.load(None)
    feed(running, state, [event("order_paid", m, amount=300) for m in range(5)])
    assert running.read_tags(state, minutes(9)) == {
        "rfm": {"r": 5, "f": 4, "m": 4, "segment": "important_value"}
    }
    changes = running.on_timers(state, USER, minutes(100 * DAY_MIN)).tag_changes
    assert [(c.after["r"], c.after["segment"]) for c in changes] == [
        (4, "important_value"),
        (3, "important_keep"),
    ]


MADE = """
tags:
- {id: orders, kind: count, event: order_paid}
- {id: gmv, kind: sum, event: order_paid, value: properties.amount}
- {id: rfm, kind: rfm, event: order_paid, value: properties.amount}
- {id: seen, kind: per_key, event: product_viewed, value: properties.sku}
- {id: hot, kind: flag, event: product_viewed, ttl: 1h}
- {id: mean, kind: expr, compute: {divide: [tag.gmv, tag.orders]}}
- id: tier
  kind: expr
  cases: [{high: {any: [{tag.mean: {gte: 100}}, {tag.rfm.m: {gte: 4}}]}}, {middle: {tag.hot: true}}]
  else: low
- {id: label, kind: expr, cases: [{gold: {tag.tier: high}}]}
rules:
- id: again
  trigger: {event: product_viewed}
  audience: {tag.tier: high, tag.rfm.segment: {starts_with: general}, tag.seen: {has: b}}
  steps: [{send: {via: [log], template: t}}]
"""


def test_an_expr_follows_the_tags_it_is_made_of_and_time() -> None:
    running = engine(MADE)
    state = running.load(None)
    said = feed(running, state, [event("product_viewed", 0, sku="a")])
    add(said, running.on_timers(state, USER, minutes(60)))
    add(said, feed(running, state, [event("order_paid", m, amount=150.5) for m in (70, 71)]))
    made = ("tier", "mean", "label")
    moved = [(c.tag, c.before, c.after) for c in said.tag_changes if c.tag in made]
    assert moved == [
        ("tier", None, "middle"),
        ("tier", "middle", "low"),
        ("mean", None, 150.5),
        ("tier", "low", "high"),
        ("label", None, "gold"),
    ]
    assert "tier" not in running.read_tags(running.load(None), minutes(0))


def test_a_rule_reads_parts_and_keys_of_tags() -> None:
    running: Engine = engine(MADE)
    state = running.load(None)
    events = [event("order_paid", 0, amount=150), event("product_viewed", 1, sku="a")]
    decisions = feed(running, state, [*events, event("product_viewed", 2, sku="b")]).decisions
    assert [(d.outcome, d.reason) for d in decisions] == [
        ("suppressed", "audience"),
        ("sent", "passed"),
    ]


def test_a_definition_that_changes_or_comes_needs_no_rebuild_of_the_others() -> None:
    first = engine(
        'tags:\n- {id: heat, kind: decay, event: "*", half_life: 1h}\n'
        '- {id: fav, kind: topk, event: "*", value: properties.sku}\n'
        '- {id: low, kind: min, event: "*", value: properties.amount, window: 1h}'
    )
    state = first.load(None)
    feed(first, state, [event("app_started", m, sku="a", amount=m) for m in (0, 60)])
    second = engine(
        'tags:\n- {id: heat, kind: decay, event: "*", half_life: 2h}\n'
        '- {id: fav, kind: topk, event: "*", value: properties.sku, half_life: 1h}\n'
        '- {id: low, kind: min, event: "*", value: properties.amount, window: 2h}\n'
        "- {id: hot, kind: expr, cases: [{warm: {tag.heat: {gt: 1}}}]}"
    )
    state = second.load(first.dump(state))
    tags = second.read_tags(state, minutes(60))
    assert (tags["fav"], tags["low"], tags["hot"]) == (["a"], 0, "warm")
    feed(second, state, [event("app_started", 61, sku="b", amount=1)])
    assert second.read_tags(state, minutes(61))["fav"] == ["a", "b"]
    assert second.read_tag(state, "heat", minutes(61) + 50 * HOUR_MS) == 0


@pytest.mark.parametrize(
    ("tags", "line", "problem", "hint"),
    [
        ("- {id: a, kind: topk, event: order_paid}", 2, "value is missing", ""),
        ("- {id: a, kind: decay, event: order_paid}", 2, "half_life is missing", ""),
        (
            (
                "- id: a\n  kind: topk\n  event: order_paid\n  value: properties.amount\n"
                "  weights:\n    order_piad: 2"
            ),
            7,
            "order_piad is no event of the tag",
            "order_paid",
        ),
        (
            "- id: a\n  kind: stage\n  stages:\n  - new: {since_frist: {lt: 7d}}",
            5,
            "unknown key since_frist",
            "since_first",
        ),
        (
            (
                "- id: a\n  kind: rfm\n  event: order_paid\n  value: properties.amount\n"
                "  frequency: [2, 2, 3, 4]"
            ),
            6,
            "thresholds rise",
            "",
        ),
        (
            "- id: a\n  kind: expr\n  compute: {devide: [tag.a, 2]}",
            4,
            "unknown operation devide",
            "divide",
        ),
        ("- id: a\n  kind: expr\n  compute: {divide: [2]}", 4, "wants a list of two", ""),
        ("- id: a\n  kind: expr\n  cases: [{x: {properties.sku: a}}]", 4, "reads tags only", ""),
        (
            (
                "- id: a\n  kind: expr\n  cases: [{x: {tag.b: y}}]\n"
                "- id: b\n  kind: expr\n  cases: [{y: {tag.a: x}}]"
            ),
            4,
            "a is made of itself",
            "",
        ),
        ("- {id: a, kind: expr}", 2, "exactly one of cases, compute", ""),
        (
            (
                "- {id: n, kind: count, event: order_paid}\n"
                "- {id: a, kind: expr, cases: [{x: {tag.n.r: 1}}]}"
            ),
            3,
            "has no part r",
            "write tag.n",
        ),
        (
            "- {id: n, kind: channel}\n- {id: a, kind: expr, compute: tag.n.frist}",
            3,
            "has no part frist",
            "it has first, last",
        ),
    ],
)
def test_a_wrong_definition_is_refused_with_its_line(
    tags: str, line: int, problem: str, hint: str
) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        book(f"tags:\n{tags}")
    error = refused.value
    assert (error.line, problem in error.problem, hint in error.hint) == (line, True, True), error
