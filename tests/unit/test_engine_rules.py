import pytest

from schemas.events import Event
from streams.core.ids import make_share
from tests.engine_story import DAY_MS, SEND, USER, add, book, engine, event, feed, minutes, told

TAGS = "tags: [{id: orders, kind: count, event: order_paid}]\n"


def rule(body: str, *, head: str = TAGS) -> str:
    return f"{head}rules:\n- {{id: r, {body}, {SEND}}}"


def paid(at_min: float, *, mid: str = "") -> Event:
    return event("order_paid", at_min, mid=mid, order_id="o", amount=10)


def viewed(at_min: float, sku: str = "a") -> Event:
    return event("product_viewed", at_min, sku=sku)


def test_an_event_that_passes_where_is_decided_once_and_touched() -> None:
    text = rule("trigger: {event: order_paid, where: {properties.amount: {gte: 10}}}")
    running = engine(text)
    effects = feed(running, running.load(None), [paid(0, mid="m-1"), event("order_paid", 1)])
    (decision,), (touch,) = effects.decisions, effects.touches
    assert (decision.outcome, decision.reason, decision.trigger) == ("sent", "passed", "m-1")
    assert (decision.trigger_kind, decision.touch_id) == ("event", touch.touch_id)
    assert decision.rule_version == running.rulebook.versions["r"]
    assert (touch.user, touch.via, touch.template) == (USER, ["log"], "t")
    assert touch.properties == {"order_id": "o", "amount": 10}


def test_the_audience_reads_tags_after_the_event_and_the_decision_shows_them() -> None:
    running = engine(rule("trigger: {event: order_paid}, audience: {tag.orders: {eq: 1}}"))
    decisions = feed(running, running.load(None), [paid(0), paid(1)]).decisions
    assert told(decisions) == [("sent", "passed"), ("suppressed", "audience")]
    assert decisions[1].tags == {"orders": 2}
    assert decisions[1].trace == [{"if": "tag.orders eq 1", "value": 2, "ok": False}]


def test_a_cooldown_counts_from_the_last_entry() -> None:
    running = engine(rule("trigger: {event: order_paid}, reentry: {cooldown: 1h}"))
    decisions = feed(running, running.load(None), [paid(m) for m in (0, 59, 60, 61)]).decisions
    assert [one.reason for one in decisions] == ["passed", "cooldown", "passed", "cooldown"]


def test_a_count_fires_at_the_nth_and_then_counts_from_zero() -> None:
    text = rule("trigger: {count: {event: product_viewed, n: 3, within: 1h, by: properties.sku}}")
    running = engine(text)
    looks = [viewed(m) for m in (0, 10, 60, 61, 62, 63)] + [viewed(64, "b")]
    decisions = feed(running, running.load(None), looks).decisions
    assert [one.time_ms for one in decisions] == [minutes(60), minutes(63)]


def test_a_count_forgets_what_is_older_than_its_time() -> None:
    text = rule("trigger: {count: {event: product_viewed, n: 2, within: 10m}}")
    running = engine(text)
    assert not feed(running, running.load(None), [viewed(0), viewed(11)]).decisions
    assert feed(running, running.load(None), [viewed(0), viewed(10)]).decisions


def test_a_count_holds_the_newest_keys_only() -> None:
    text = rule("trigger: {count: {event: product_viewed, n: 3, within: 1d, by: properties.sku}}")
    running = engine(text)
    state = running.load(None)
    feed(running, state, [viewed(i / 10, f"s{i}") for i in range(500)])
    assert len(state.rule("r").counts) == 64
    assert "s499" in state.rule("r").counts


def test_a_holdout_is_decided_by_user_and_never_touched() -> None:
    text = rule("trigger: {event: order_paid}, guard: {holdout: 30}, reentry: {cooldown: 1h}")
    running = engine(text)
    outcomes = {}
    for number in range(400):
        one = paid(0)
        one.user = f"user_id:{number}"
        effects = running.on_event(running.load(None), one)
        outcomes[one.user] = effects.decisions[0].outcome
        assert bool(effects.touches) is (outcomes[one.user] == "sent")
    held = {user for user, outcome in outcomes.items() if outcome == "holdout"}
    assert held == {user for user in outcomes if make_share("holdout", "r", user) < 3000}
    assert 80 < len(held) < 160


def test_a_held_out_user_enters_the_rule_as_a_sent_one_does() -> None:
    text = rule("trigger: {event: order_paid}, guard: {holdout: 100}, reentry: {cooldown: 1h}")
    running = engine(text)
    decisions = feed(running, running.load(None), [paid(0), paid(1)]).decisions
    assert [one.reason for one in decisions] == ["holdout", "cooldown"]


def test_variants_share_users_by_weight_and_keep_them() -> None:
    text = rule("trigger: {event: order_paid}, variants: [{id: a, weight: 3}, {id: b, weight: 1}]")
    running = engine(text)
    drawn = []
    for number in range(400):
        state = running.load(None)
        ones = [paid(0), paid(1)]
        for one in ones:
            one.user = f"user_id:{number}"
        touches = feed(running, state, ones).touches
        assert touches[0].variant == touches[1].variant
        drawn.append(touches[0].variant)
    assert 250 < drawn.count("a") < 350
    assert drawn.count("a") + drawn.count("b") == 400


CAPS = TAGS + "policies: {caps: {m: [{max: 2, per: 1h}], d: [{max: 1, per: local_day}]}}\n"


def test_a_sliding_cap_bounds_touches_of_all_its_rules() -> None:
    text = CAPS + "".join(
        f"{'rules:' if i == 0 else ''}\n- {{id: r{i}, trigger: {{event: order_paid}}, "
        f"guard: {{cap: m}}, {SEND}}}"
        for i in range(3)
    )
    running = engine(text)
    state = running.load(None)
    decisions = feed(running, state, [paid(0), paid(59), paid(60)]).decisions
    assert [one.reason for one in decisions] == ["passed"] * 2 + ["cap:m"] * 4 + ["passed"] * 2 + [
        "cap:m"
    ]


def test_a_local_day_ends_at_midnight_in_shanghai() -> None:
    running = engine(rule("trigger: {event: order_paid}, guard: {cap: d}", head=CAPS))
    state = running.load(None)
    to_midnight = 14 * 60
    at = (0, to_midnight - 1, to_midnight, to_midnight + 1)
    decisions = feed(running, state, [paid(m) for m in at]).decisions
    assert [one.reason for one in decisions] == ["passed", "cap:d", "passed", "cap:d"]


def test_a_shadow_rule_decides_as_if_live_but_sends_nothing_and_takes_no_cap() -> None:
    text = rule(
        "status: shadow, trigger: {event: order_paid}, guard: {cap: d}, reentry: {cooldown: 1h}",
        head=CAPS,
    )
    running = engine(text)
    state = running.load(None)
    effects = feed(running, state, [paid(0), paid(1), paid(61)])
    assert [one.reason for one in effects.decisions] == ["shadow", "cooldown", "shadow"]
    assert effects.touches == []
    assert state.caps == {}


@pytest.mark.parametrize("status", ["draft", "paused"])
def test_draft_and_paused_rules_do_not_run(status: str) -> None:
    running = engine(rule(f"status: {status}, trigger: {{event: order_paid}}"))
    assert not feed(running, running.load(None), [paid(0)]).decisions


def test_an_event_over_a_day_late_counts_but_is_not_acted_on() -> None:
    running = engine(rule("trigger: {event: order_paid}"))
    state = running.load(None)
    late = paid(0)
    marked = paid(24 * 60 + 2)
    marked.marks = ["late"]
    decisions = feed(running, state, [paid(24 * 60 + 1), late, marked]).decisions
    assert [one.reason for one in decisions] == ["passed", "late", "late"]
    assert running.read_tag(state, "orders", state.latest_ms) == 3


def test_several_sends_are_touches_with_ids_of_one_root_and_a_decision_each() -> None:
    two = SEND.replace("}]", "}, {send: {via: [webhook], template: u}}]")
    running = engine(f"rules:\n- {{id: r, trigger: {{event: order_paid}}, {two}}}")
    effects = feed(running, running.load(None), [paid(0)])
    first, second = effects.touches
    assert second.touch_id == f"{first.touch_id}-1"
    assert [one.touch_id for one in effects.decisions] == [first.touch_id, second.touch_id]
    assert len({one.decision_id for one in effects.decisions}) == 2
    assert (first.template, second.template) == ("t", "u")


def test_identifiers_that_were_seen_before_come_with_the_touch() -> None:
    running = engine(rule("trigger: {event: order_paid}"))
    state = running.load(None)
    follow = event("official_account_followed", 0)
    follow.identities = {"openid": "wx1:o1"}
    order = paid(1)
    order.identities = {"user_id": "u1"}
    (touch,) = feed(running, state, [follow, order]).touches
    assert touch.identities == {"openid": "wx1:o1", "user_id": "u1"}


def test_a_touch_carries_at_most_four_kib_of_properties() -> None:
    running = engine(rule("trigger: {event: order_paid}"))
    one = event("order_paid", 0, order_id="o", amount=1, lines=["x" * 100] * 100, note="y" * 5000)
    (touch,) = feed(running, running.load(None), [one]).touches
    assert touch.properties == {"order_id": "o", "amount": 1}


CART = rule(
    "trigger: {absence: {after: {event: cart_added}, "
    "none: {event: order_paid, join: [properties.cart_id]}, within: 30m}}, "
    "audience: {properties.amount: {gte: 50}}, "
    "exit: [{event: official_account_unfollowed}]"
)


def cart(at_min: float, cart_id: str = "c1", *, received_min: float | None = None) -> Event:
    return event(
        "cart_added", at_min, received_min=received_min, sku="a", cart_id=cart_id, amount=99
    )


def bought(at_min: float, cart_id: str = "c1") -> Event:
    return event("order_paid", at_min, order_id="o", amount=99, cart_id=cart_id)


def test_a_wait_fires_by_a_timer_only_once_it_has_settled_after_its_due() -> None:
    running = engine(CART, settle_ms=3000)
    state = running.load(None)
    assert not feed(running, state, [cart(0), event("app_started", 50)]).decisions
    assert running.next_timer_ms(state) == minutes(30) + 3000
    assert not running.on_timers(state, USER, minutes(30) + 2999).decisions
    state = running.load(running.dump(state))
    effects = running.on_timers(state, USER, minutes(50))
    (decision,), (touch,) = effects.decisions, effects.touches
    assert (decision.outcome, decision.time_ms) == ("sent", minutes(30))
    assert decision.trace == [{"if": "properties.amount gte 50", "value": 99, "ok": True}]
    assert touch.properties["cart_id"] == "c1"
    assert running.next_timer_ms(state) is None


def test_a_wait_whose_event_came_late_settles_before_it_fires() -> None:
    running = engine(CART, settle_ms=5000)
    state = running.load(None)
    feed(running, state, [cart(0, received_min=40)])
    assert running.next_timer_ms(state) == minutes(40) + 5000
    feed(running, state, [bought(20)])
    assert running.next_timer_ms(state) is None


@pytest.mark.parametrize(("at_min", "fires"), [(0, False), (30, False), (-1, True), (31, True)])
@pytest.mark.parametrize("first", ["cart", "order"])
def test_ends_of_the_wait_are_included_whichever_comes_first(
    at_min: float, first: str, *, fires: bool
) -> None:
    running = engine(CART)
    state = running.load(None)
    pair = [cart(0), bought(at_min)]
    feed(running, state, pair if first == "cart" else pair[::-1])
    assert bool(running.on_timers(state, USER, minutes(60)).touches) is fires


def test_another_cart_or_an_order_without_a_cart_ends_nothing() -> None:
    running = engine(CART)
    state = running.load(None)
    feed(running, state, [cart(0), bought(5, "c2"), paid(6)])
    assert running.on_timers(state, USER, minutes(60)).touches


def test_a_cart_that_nothing_could_end_does_not_wait() -> None:
    running = engine(CART)
    state = running.load(None)
    feed(running, state, [event("cart_added", 0, sku="a", amount=99)])
    assert running.next_timer_ms(state) is None


@pytest.mark.parametrize(("again", "due_min"), [("restart", 40), ("ignore", 30)])
@pytest.mark.parametrize("order", [(0, 10), (10, 0)])
def test_a_second_cart_restarts_the_wait_or_does_nothing(
    again: str, due_min: float, order: tuple[float, float]
) -> None:
    running = engine(CART.replace("within: 30m", f"within: 30m, again: {again}"))
    state = running.load(None)
    feed(running, state, [cart(m) for m in order])
    decisions = running.on_timers(state, USER, minutes(60)).decisions
    assert [one.time_ms for one in decisions] == [minutes(due_min)]


def test_timers_fire_in_the_order_of_their_due() -> None:
    running = engine(CART)
    state = running.load(None)
    feed(running, state, [cart(m, f"c{m}") for m in (9, 3, 6)])
    decisions = running.on_timers(state, USER, minutes(60)).decisions
    assert [one.time_ms for one in decisions] == [minutes(33), minutes(36), minutes(39)]


@pytest.mark.parametrize("first", ["cart", "leave"])
def test_an_exit_ends_the_wait_at_once_and_says_so(first: str) -> None:
    running = engine(CART)
    state = running.load(None)
    pair = [cart(0), event("official_account_unfollowed", 5)]
    effects = feed(running, state, pair if first == "cart" else pair[::-1])
    assert told(effects.decisions) == [("exited", "exit")]
    assert not running.on_timers(state, USER, minutes(60)).decisions


def test_an_exit_before_the_cart_ends_nothing() -> None:
    running = engine(CART)
    state = running.load(None)
    feed(running, state, [event("official_account_unfollowed", -5), cart(0)])
    assert running.on_timers(state, USER, minutes(60)).touches


def test_a_timer_that_could_run_only_a_day_later_does_not_send() -> None:
    running = engine(CART)
    state = running.load(None)
    feed(running, state, [cart(0)])
    effects = running.on_timers(state, USER, minutes(31) + DAY_MS)
    assert told(effects.decisions) == [("suppressed", "late")]


def test_a_wait_of_a_rule_that_was_paused_exits_and_of_one_that_is_gone_vanishes() -> None:
    running = engine(CART)
    state = running.load(None)
    feed(running, state, [cart(0)])
    packed = running.dump(state)
    paused = engine(CART.replace("id: r,", "id: r, status: paused,"))
    effects = paused.on_timers(paused.load(packed), USER, minutes(60))
    assert told(effects.decisions) == [("exited", "paused")]
    gone = engine(TAGS)
    state = gone.load(packed)
    assert not gone.on_timers(state, USER, minutes(60)).decisions
    assert gone.next_timer_ms(state) is None


def test_more_than_64_waits_are_refused_with_a_decision() -> None:
    running = engine(CART)
    state = running.load(None)
    decisions = feed(running, state, [cart(0, f"c{i}") for i in range(66)]).decisions
    assert told(decisions) == [("suppressed", "too_many_waits")] * 2
    assert len(state.timers) == 64


def test_no_more_of_the_same_event_is_an_absence_too() -> None:
    text = rule(
        "trigger: {absence: {after: {event: app_started}, none: {event: app_started}, within: 1h}}"
    )
    running = engine(text)
    state = running.load(None)
    total = feed(running, state, [event("app_started", m) for m in (0, 30)])
    add(total, running.on_timers(state, USER, minutes(200)))
    assert [one.time_ms for one in total.decisions] == [minutes(90)]


def test_context_and_traits_are_kept_for_a_wait_that_reads_them() -> None:
    text = CART.replace(
        "{properties.amount: {gte: 50}}",
        "{context.channel: share, traits.vip: true, identities.user_id: u1, source: app}",
    )
    running = engine(text)
    state = running.load(None)
    one = cart(0)
    one.context, one.traits, one.identities = {"channel": "share"}, {"vip": True}, {"user_id": "u1"}
    feed(running, state, [one])
    state = running.load(running.dump(state))
    assert running.on_timers(state, USER, minutes(60)).touches


def test_ids_differ_between_rules_versions_users_and_triggers() -> None:
    texts = [rule("trigger: {event: order_paid}")]
    texts += [texts[0].replace("id: r,", "id: q,"), texts[0].replace("template: t", "template: u")]
    ids = set()
    for text in texts:
        running = engine(text)
        for mid in ("m-1", "m-2"):
            effects = feed(running, running.load(None), [paid(0, mid=mid)])
            ids |= {effects.decisions[0].decision_id, effects.touches[0].touch_id}
    assert len(ids) == 12
    assert book(texts[0]).versions["r"] != book(texts[2]).versions["r"]
