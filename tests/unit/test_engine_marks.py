import pytest

from schemas.events import Mark
from streams.core.state.user import State
from tests.engine_story import add, engine, event, feed, minutes

RULES = """
tags: [{id: orders, kind: count, event: order_paid}]
rules:
- id: thanks
  trigger: {event: order_paid}
  steps: [{send: {via: [log], template: t}}]
- id: three
  trigger: {count: {event: product_viewed, n: 3, within: 24h}}
  steps: [{send: {via: [log], template: t}}]
- id: cart
  trigger: {absence: {after: {event: cart_added}, none: {event: order_paid}, within: 30m}}
  steps: [{send: {via: [log], template: t}}]
"""


@pytest.mark.parametrize("mark", ["redriven", "bot"])
@pytest.mark.parametrize("name", ["order_paid", "cart_added"])
def test_a_marked_event_counts_in_tags_but_touches_nobody(name: str, mark: Mark) -> None:
    running, state = engine(RULES), State()
    one = event(name, 0)
    one.marks = [mark]
    found = feed(running, state, [one])
    add(found, running.on_timers(state, one.user, minutes(24 * 60)))
    assert [(d.outcome, d.reason) for d in found.decisions] == [("suppressed", mark)]
    assert not found.touches
    assert running.read_tag(state, "orders", minutes(1)) in (
        (1,) if name == "order_paid" else (0, None)
    )


def test_a_redriven_event_that_completes_a_count_touches_nobody() -> None:
    running, state = engine(RULES), State()
    views = [event("product_viewed", minute) for minute in range(3)]
    views[2].marks = ["redriven"]
    found = feed(running, state, views)
    assert [(d.rule, d.reason) for d in found.decisions] == [("three", "redriven")]
    assert not found.touches


def test_a_redriven_payment_still_ends_the_wait_for_it() -> None:
    running, state = engine(RULES), State()
    paid = event("order_paid", 5)
    paid.marks = ["redriven"]
    found = feed(running, state, [event("cart_added", 0), paid])
    add(found, running.on_timers(state, paid.user, minutes(60)))
    assert [(d.rule, d.reason) for d in found.decisions] == [("thanks", "redriven")]


def test_a_self_test_is_touched_like_anybody() -> None:
    running, state = engine(RULES), State()
    paid = event("order_paid", 0)
    paid.marks = ["test"]
    assert len(feed(running, state, [paid]).touches) == 1
