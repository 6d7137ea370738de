import pytest

from schemas.events import Event
from streams.core.engine import Engine
from streams.core.ids import make_share
from streams.core.rules.evaluation import Effects
from streams.core.state.user import State
from tests.engine_story import HOUR_MS, USER, add, engine, event, feed, minutes, told

DAY_MIN = 24 * 60
TAGS = "tags: [{id: orders, kind: count, event: order_paid}]\n"
SOP = """
rules:
- id: sop
  trigger: {event: user_registered}
  exit: [{event: order_paid}]
  steps:
  - {send: {via: [log], template: hello}}
  - {id: two_days, wait: {for: 2d}}
  - id: fork
    branch:
      if: {tag.views: {gte: 2}}
      then: [{send: {via: [log], template: seen}}]
      else: [{send: {via: [log], template: unseen}}, {id: nap, wait: {for: 1h}}]
  - {id: morning, wait: {for: 1d, until: "09:00"}}
  - {id: last, send: {via: [log], template: bye}}
tags: [{id: views, kind: count, event: product_viewed}]
"""


def joined(at_min: float = 0) -> Event:
    return event("user_registered", at_min)


def paid(at_min: float, amount: float = 10) -> Event:
    return event("order_paid", at_min, order_id="o", amount=amount)


def run_on(running: Engine, state: State, to_min: float) -> Effects:
    total = Effects()
    while (at_ms := running.next_timer_ms(state)) is not None and at_ms <= minutes(to_min):
        state = _again(running, state)
        add(total, running.on_timers(state, USER, at_ms))
    return total


def _again(running: Engine, state: State) -> State:
    assert running.load(running.dump(state)) == state
    return state


@pytest.mark.parametrize(
    ("views", "template", "last_min"),
    [(2, "seen", 3 * DAY_MIN + 23 * 60), (1, "unseen", 3 * DAY_MIN + 23 * 60)],
)
def test_a_run_takes_its_steps_in_time_and_its_branch_by_the_tags_of_then(
    views: int, template: str, last_min: float
) -> None:
    running = engine(SOP)
    state = running.load(None)
    total = feed(running, state, [joined()])
    feed(running, state, [event("product_viewed", i + 1, sku="a") for i in range(views)])
    add(total, run_on(running, state, 9 * DAY_MIN))
    assert [(one.template, one.time_ms) for one in total.touches] == [
        ("hello", minutes(0)),
        (template, minutes(2 * DAY_MIN)),
        ("bye", minutes(last_min)),
    ]
    assert [one.touch_id for one in total.decisions] == [one.touch_id for one in total.touches]
    assert len({one.decision_id for one in total.decisions}) == 3
    assert state.journeys == []


def test_an_exit_ends_a_run_at_once_wherever_it_is() -> None:
    for at_min, sends in ((1, 1), (2 * DAY_MIN + 2, 2)):
        running = engine(SOP)
        state = running.load(None)
        total = feed(running, state, [joined()])
        add(total, run_on(running, state, at_min - 1))
        add(total, feed(running, state, [paid(at_min)]))
        add(total, run_on(running, state, 9 * DAY_MIN))
        assert told(total.decisions) == [("sent", "passed")] * sends + [("exited", "exit")]
        assert total.decisions[-1].time_ms == minutes(at_min)
        assert state.journeys == []


def test_an_exit_that_came_before_its_beginning_ends_it_as_well() -> None:
    running = engine(SOP)
    decisions = feed(running, running.load(None), [paid(5), joined(3), joined(6)]).decisions
    assert told(decisions) == [("exited", "exit"), ("sent", "passed")]


def test_a_user_is_in_a_rule_once_at_a_time() -> None:
    running = engine(SOP)
    decisions = feed(running, running.load(None), [joined(), joined(5)]).decisions
    assert told(decisions) == [("sent", "passed"), ("suppressed", "running")]


WAIT_FIRST = """
rules:
- id: r
  trigger: {event: user_registered}
  steps: [{id: w, wait: {until: "09:00"}}, {send: {via: [log], template: t}}]
"""


@pytest.mark.parametrize(
    ("zone", "due_min"),
    [("", 23 * 60), ("Asia/Tokyo", 22 * 60), ("Europe/London", 7 * 60)],
)
def test_a_wait_until_a_time_of_day_is_where_the_user_is(zone: str, due_min: float) -> None:
    running = engine(WAIT_FIRST)
    state = running.load(None)
    one = joined()
    one.context = {"timezone": zone}
    total = feed(running, state, [one])
    assert told(total.decisions) == [("held", "wait")]
    (decision,) = run_on(running, state, 9999).decisions
    assert (decision.outcome, decision.time_ms) == ("sent", minutes(due_min))


def test_a_branch_to_nowhere_ends_with_a_word() -> None:
    text = TAGS + (
        "rules: [{id: r, trigger: {event: user_registered}, steps: [{branch: {if: "
        "{tag.orders: {gte: 1}}, then: [{send: {via: [log], template: t}}]}}]}]"
    )
    running = engine(text)
    (decision,) = feed(running, running.load(None), [joined()]).decisions
    assert (decision.outcome, decision.reason) == ("exited", "end")
    assert decision.trace == [{"if": "tag.orders gte 1", "value": 0, "ok": False}]


def test_a_run_in_flight_goes_on_by_step_id_with_the_new_rulebook() -> None:
    old = engine(SOP)
    state = old.load(None)
    feed(old, state, [joined()])
    packed = old.dump(state)
    text = SOP.replace("template: unseen", "template: fresh").replace(
        "- {id: two_days", "- {send: {via: [log], template: extra}}\n  - {id: two_days"
    )
    new = engine(text)
    state = new.load(packed)
    total = run_on(new, state, 2 * DAY_MIN + 1)
    assert [one.template for one in total.touches] == ["fresh"]
    assert total.decisions[0].rule_version == new.rulebook.versions["sop"]
    # Made of the version it began with: the same touch, whichever rulebook sends it.
    state = old.load(packed)
    assert run_on(old, state, 2 * DAY_MIN + 1).touches[0].touch_id == total.touches[0].touch_id


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SOP.replace("id: two_days", "id: other"), "step_gone"),
        (
            SOP.replace(
                "{id: two_days, wait: {for: 2d}}", "{id: two_days, send: {via: [log], template: x}}"
            ),
            "step_gone",
        ),
        (SOP.replace("- id: sop", "- id: sop\n  status: paused"), "paused"),
        (SOP.replace("- id: sop", "- id: new"), "rule_gone"),
    ],
)
def test_a_run_whose_place_is_gone_ends_and_says_why(text: str, reason: str) -> None:
    old = engine(SOP)
    state = old.load(None)
    feed(old, state, [joined()])
    new = engine(text)
    state = new.load(old.dump(state))
    effects = run_on(new, state, 9 * DAY_MIN)
    assert told(effects.decisions) == [("exited", reason)]
    assert (effects.touches, state.journeys) == ([], [])


def test_a_run_that_could_go_on_only_a_day_later_does_not_send_but_goes_on() -> None:
    running = engine(SOP)
    state = running.load(None)
    feed(running, state, [joined()])
    effects = running.on_timers(state, USER, minutes(3 * DAY_MIN) + 60_000)
    assert told(effects.decisions) == [("suppressed", "late")]
    assert len(state.journeys) == 1


GOAL = (
    TAGS
    + """
rules:
- id: r
  trigger: {event: cart_added}
  guard: {holdout: 50}
  variants: [{id: a, weight: 1}, {id: b, weight: 1}]
  goal:
    {event: order_paid, where: {properties.amount: {gte: 5}}, within: 1d, value: properties.amount}
  steps: [{send: {via: [log], template: t}}]
"""
)


def cart(at_min: float, user: str = USER) -> Event:
    one = event("cart_added", at_min, sku="a", cart_id="c", amount=99)
    one.user = user
    return one


@pytest.mark.parametrize("held_out", [True, False])
def test_a_goal_is_told_of_treated_and_held_out_users_alike(*, held_out: bool) -> None:
    running = engine(GOAL)
    users = (f"user_id:{i}" for i in range(99))
    user = next(u for u in users if (make_share("holdout", "r", u) < 5000) is held_out)
    state = running.load(None)
    total = feed(running, state, [cart(0, user)])
    state = running.load(running.dump(state))
    small, order, again = paid(3, 4), paid(DAY_MIN, 12.5), paid(DAY_MIN)
    small.user = order.user = again.user = user
    feed(running, state, [small])
    (decision,) = feed(running, state, [order, again]).decisions
    assert (decision.outcome, decision.reason) == (
        ("converted", "holdout" if held_out else "treated")
    )
    assert (decision.value, decision.trigger) == (12.5, order.message_id)
    assert decision.variant == total.decisions[0].variant != ""
    assert bool(decision.touch_id) is not held_out
    assert decision.touch_id == total.decisions[0].touch_id


@pytest.mark.parametrize(
    ("at_min", "told_of"), [(-1, False), (0, True), (DAY_MIN, True), (DAY_MIN + 0.1, False)]
)
def test_a_goal_counts_within_its_time_ends_included(at_min: float, *, told_of: bool) -> None:
    running = engine(GOAL)
    state = running.load(None)
    feed(running, state, [cart(0)])
    assert bool(feed(running, state, [paid(at_min)]).decisions) is told_of


def test_a_goal_outlives_the_run_and_its_exit_and_the_last_touch_is_credited() -> None:
    goal = "exit: [{event: order_paid}]\n  goal: {event: coupon_used, within: 30d}"
    running = engine(SOP.replace("exit: [{event: order_paid}]", goal))
    state = running.load(None)
    total = feed(running, state, [joined()])
    add(total, run_on(running, state, 2 * DAY_MIN + 1))
    feed(running, state, [paid(2 * DAY_MIN + 2)])
    used = event("coupon_used", 20 * DAY_MIN, coupon_id="k", amount=1)
    (decision,) = feed(running, state, [used]).decisions
    assert decision.outcome == "converted"
    assert decision.touch_id == total.touches[-1].touch_id != total.touches[0].touch_id


def test_one_event_converts_a_rule_once_for_its_last_entry() -> None:
    running = engine(GOAL.replace("holdout: 50", "holdout: 0"))
    state = running.load(None)
    touches = feed(running, state, [cart(0), cart(5)]).touches
    (decision,) = feed(running, state, [paid(6), paid(7)]).decisions
    assert decision.touch_id == touches[1].touch_id
    assert state.goals == []


def test_an_event_that_begins_is_not_its_own_goal() -> None:
    text = GOAL.replace("event: cart_added", "event: order_paid").replace("50}", "0}")
    running = engine(text)
    outcomes = [one.outcome for one in feed(running, running.load(None), [paid(0)]).decisions]
    assert outcomes == ["sent"]


def test_goals_of_a_user_stay_few() -> None:
    running = engine(GOAL)
    state = running.load(None)
    feed(running, state, [cart(i) for i in range(50)])
    assert len(state.goals) == 8
    feed(running, state, [cart(9 * DAY_MIN)])
    assert len(state.goals) == 1


def test_a_wait_goes_by_when_the_event_came_in_not_by_when_it_was() -> None:
    running = engine(WAIT_FIRST.replace('until: "09:00"', "for: 1h"))
    state = running.load(None)
    late = joined(0)
    late.received_at_ms += 5 * HOUR_MS
    feed(running, state, [late])
    (decision,) = run_on(running, state, 9999).decisions
    assert decision.time_ms == minutes(6 * 60)
