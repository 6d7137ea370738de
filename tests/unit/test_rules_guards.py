from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from schemas.events import Event
from schemas.policies import QuietHours
from streams.core.ids import make_share
from streams.core.rules.quiet_hours import QuietWindow
from streams.core.rules.zones import day_of, instants, minutes_of, next_instant
from tests.engine_story import DAY_MS, SEND, USER, add, engine, event, feed, minutes, run_on, told

DAY_MIN = 24 * 60
POLICIES = (
    "policies:\n"
    "  caps: {day: [{max: 1, per: local_day}], two: [{max: 2, per: 1h}]}\n"
    '  quiet: {night: {from: "22:00", to: "08:00"}}\n'
    "  exclusive: {slow: {per: 1d}}\n"
)
TAGS = "tags: [{id: orders, kind: count, event: order_paid}]\n"
# 22:00 and 08:00 in Shanghai, in minutes from T0 at 10:00.
NIGHT, MORNING = 12 * 60, 22 * 60


def book(*rules: str, head: str = POLICIES + TAGS) -> str:
    return head + "rules:\n" + "".join(f"- {{{one}, {SEND}}}\n" for one in rules)


def cart(at_min: float, zone: str = "") -> Event:
    one = event("cart_added", at_min, sku="a", cart_id="c", amount=1)
    one.context = {"timezone": zone} if zone else {}
    return one


def paid(at_min: float) -> Event:
    return event("order_paid", at_min, order_id="o", amount=10)


QUIET = "id: r, trigger: {event: cart_added}, guard: {quiet: {use: night%s}}"


@pytest.mark.parametrize(
    ("at_min", "outcome"),
    [(NIGHT - 0.001, "sent"), (NIGHT, "held"), (MORNING - 0.001, "held"), (MORNING, "sent")],
)
def test_quiet_hours_hold_from_their_beginning_to_before_their_end(
    at_min: float, outcome: str
) -> None:
    running = engine(book(QUIET % ""))
    state = running.load(None)
    total = feed(running, state, [cart(at_min)])
    assert [one.outcome for one in total.decisions] == [outcome]
    if outcome == "held":
        assert total.decisions[0].reason == "quiet:night"
        state = running.load(running.dump(state))
        late = run_on(running, state, MORNING + 1)
        assert told(late.decisions) == [("sent", "passed")]
        assert late.decisions[0].time_ms == minutes(MORNING) == late.touches[0].time_ms
        assert late.decisions[0].decision_id != total.decisions[0].decision_id


@pytest.mark.parametrize(
    ("more", "first", "then"),
    [
        (", hit: drop", ("suppressed", "quiet:night"), []),
        (", hit: send", ("sent", "passed"), []),
        (", max_hold: 10h", ("held", "quiet:night"), [("sent", "passed")]),
        (", max_hold: 9h", ("suppressed", "max_hold"), []),
    ],
)
def test_quiet_hours_drop_send_or_hold_for_so_long(
    more: str, first: tuple[str, str], then: list[tuple[str, str]]
) -> None:
    running = engine(book(QUIET % more))
    state = running.load(None)
    assert told(feed(running, state, [cart(NIGHT)]).decisions) == [first]
    assert told(run_on(running, state, 9999).decisions) == then


@pytest.mark.parametrize(("recheck", "after"), [("true", "suppressed"), ("false", "sent")])
def test_the_audience_is_asked_again_at_the_end_of_a_hold(recheck: str, after: str) -> None:
    text = book(QUIET % f", recheck: {recheck}" + ", audience: {tag.orders: 0}")
    running = engine(text)
    state = running.load(None)
    feed(running, state, [cart(NIGHT), paid(NIGHT + 5)])
    assert [one.outcome for one in run_on(running, state, 9999).decisions] == [after]


def test_an_exit_ends_a_hold_at_once() -> None:
    running = engine(book(QUIET % "" + ", exit: [{event: order_paid}]"))
    state = running.load(None)
    decisions = feed(running, state, [cart(NIGHT), paid(NIGHT + 5)]).decisions
    assert told(decisions) == [("held", "quiet:night"), ("exited", "exit")]
    assert running.next_timer_ms(state) is None


def test_a_cap_that_filled_up_meanwhile_suppresses_what_was_held() -> None:
    other = "id: other, trigger: {event: app_started}, guard: {cap: day}"
    held = QUIET.replace("guard: {", "guard: {cap: day, ") % ""
    running = engine(book(held, other))
    state = running.load(None)
    # 00:30 and later: the day of the morning.
    feed(running, state, [cart(NIGHT + 150), event("app_started", NIGHT + 160)])
    assert told(run_on(running, state, 9999).decisions) == [("suppressed", "cap:day")]


@pytest.mark.parametrize(
    ("zone", "at_min", "outcome"),
    [
        ("", NIGHT, "held"),
        ("Asia/Tokyo", NIGHT - 60, "held"),  # 22:00 there
        ("Asia/Tokyo", MORNING - 60, "sent"),  # 08:00 there
        ("America/New_York", NIGHT, "sent"),  # 09:00 there
        ("Not/AZone", NIGHT, "held"),
    ],
)
def test_quiet_hours_are_the_users_own(zone: str, at_min: float, outcome: str) -> None:
    running = engine(book(QUIET % ""))
    state = running.load(None)
    feed(running, state, [cart(0, zone)])
    decisions = feed(running, state, [cart(at_min)]).decisions
    assert [one.outcome for one in decisions] == [outcome]


def test_a_users_zone_is_that_of_the_newest_event() -> None:
    running = engine(book(QUIET % ""))
    state = running.load(None)
    feed(running, state, [cart(5, "Asia/Tokyo"), cart(4, "Europe/London"), cart(6)])
    assert state.zone == "Asia/Tokyo"


def test_what_came_in_at_night_is_held_though_it_happened_by_day() -> None:
    running = engine(book(QUIET % ""))
    one = cart(NIGHT - 30)
    one.received_at_ms = minutes(NIGHT + 30)
    assert told(feed(running, running.load(None), [one]).decisions) == [("held", "quiet:night")]


def test_a_timer_that_an_outage_put_into_the_night_is_held() -> None:
    wait = "steps: [{wait: {for: 11h}}, {send: {via: [log], template: t}}]"
    running = engine(book(QUIET % "").replace(SEND, wait))
    state = running.load(None)
    feed(running, state, [cart(0)])  # due at 21:00
    effects = running.on_timers(state, USER, minutes(NIGHT + 30))
    assert told(effects.decisions) == [("held", "quiet:night")]


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("hours", "now", "end"),
    [
        # Clocks go forward on 2026-03-08 at 02:00: the night is an hour shorter.
        (("22:00", "08:00"), "2026-03-07T22:00-05:00", "2026-03-08T08:00-04:00"),
        # 02:30 is skipped: quiet hours end when the clock jumps.
        (("22:00", "02:30"), "2026-03-08T01:30-05:00", "2026-03-08T03:00-04:00"),
        # Clocks go back on 2026-11-01 at 02:00: the night is an hour longer.
        (("22:00", "08:00"), "2026-10-31T22:00-04:00", "2026-11-01T08:00-05:00"),
        # 01:30 comes twice: quiet hours end at each, and begin again in between.
        (("22:00", "01:30"), "2026-11-01T01:10-04:00", "2026-11-01T01:30-04:00"),
        (("22:00", "01:30"), "2026-11-01T01:10-05:00", "2026-11-01T01:30-05:00"),
        (("22:00", "01:30"), "2026-11-01T01:40-04:00", None),
        # By day, and not over midnight.
        (("12:00", "14:00"), "2026-05-01T13:59-04:00", "2026-05-01T14:00-04:00"),
        (("12:00", "14:00"), "2026-05-01T14:00-04:00", None),
    ],
)
def test_quiet_hours_follow_the_clock_on_the_wall_when_it_changes(
    hours: tuple[str, str], now: str, end: str | None
) -> None:
    asked = QuietHours.model_validate({"from": hours[0], "to": hours[1]})
    window = QuietWindow("night", asked, "Asia/Shanghai")
    assert window.end_ms(at(now), NEW_YORK) == (at(end) if end else None)


def test_every_moment_of_a_changing_night_is_held_to_one_that_is_not_quiet() -> None:
    for start in ("2026-03-07T20:00-05:00", "2026-10-31T20:00-04:00"):
        for hours in (("22:00", "08:00"), ("01:15", "02:45"), ("23:30", "01:30")):
            asked = QuietHours.model_validate({"from": hours[0], "to": hours[1]})
            window = QuietWindow("night", asked, "Asia/Shanghai")
            for quarter in range(60):
                now_ms = at(start) + quarter * 15 * 60_000
                end_ms = window.end_ms(now_ms, NEW_YORK)
                assert end_ms is None or now_ms < end_ms <= now_ms + 12 * 3_600_000
                assert end_ms is None or window.end_ms(end_ms, NEW_YORK) is None


def test_a_time_of_day_that_is_skipped_is_the_moment_of_the_jump() -> None:
    day = datetime(2026, 3, 8, tzinfo=UTC).date()
    assert instants(NEW_YORK, day, 150) == (at("2026-03-08T03:00-04:00"),) * 2
    # Lord Howe's clocks jump by half an hour.
    howe = ZoneInfo("Australia/Lord_Howe")
    assert next_instant(howe, at("2026-10-04T01:50+10:30"), 135) == at("2026-10-04T02:30+11:00")


GROUP = "id: %s, trigger: {event: cart_added}, exclusive: %s, priority: %d"


def test_of_an_exclusive_group_the_highest_priority_is_heard() -> None:
    rules = [GROUP % ("low", "g", 1), GROUP % ("high", "g", 9), GROUP % ("also", "g", 9)]
    running = engine(book(*rules, "id: free, trigger: {event: cart_added}"))
    decisions = feed(running, running.load(None), [cart(0)]).decisions
    assert [(one.rule, one.reason) for one in decisions] == [
        ("high", "passed"),
        ("also", "exclusive"),
        ("low", "exclusive"),
        ("free", "passed"),
    ]


def test_a_rule_that_its_audience_refuses_leaves_the_group_to_others() -> None:
    running = engine(
        book(
            GROUP % ("low", "g", 1), GROUP % ("high", "g", 9) + ", audience: {tag.orders: {gte: 1}}"
        )
    )
    decisions = feed(running, running.load(None), [cart(0)]).decisions
    assert told(decisions) == [("suppressed", "audience"), ("sent", "passed")]


def test_a_tag_that_the_event_moved_competes_with_the_event() -> None:
    for ours, heard in ((9, "tagged"), (1, "plain")):
        running = engine(
            book(
                (GROUP % ("plain", "g", 5)).replace("cart_added", "order_paid"),
                f"id: tagged, trigger: {{tag: {{id: orders, enters: 1}}}}, exclusive: g, "
                f"priority: {ours}",
            )
        )
        decisions = feed(running, running.load(None), [paid(0)]).decisions
        assert [one.rule for one in decisions if one.outcome == "sent"] == [heard]


def test_a_group_with_a_period_hears_no_other_rule_in_it() -> None:
    other = (GROUP % ("b", "slow", 1)).replace("cart_added", "app_started")
    running = engine(book(GROUP % ("a", "slow", 1), other))
    state = running.load(None)
    start = event("app_started", 5)
    ends = [event("app_started", DAY_MIN + m) for m in (0.9, 1)]
    decisions = feed(running, state, [cart(0), start, cart(1), *ends]).decisions
    assert [(one.rule, one.reason) for one in decisions] == [
        ("a", "passed"),
        ("b", "exclusive"),
        ("a", "passed"),
        ("b", "exclusive"),
        ("b", "passed"),
    ]


def test_waits_that_end_at_one_time_are_heard_by_priority() -> None:
    wait = "trigger: {absence: {after: {event: cart_added}, none: {event: order_paid}, within: 1h}}"
    running = engine(
        book(
            f"id: a, {wait}, exclusive: g, priority: 1", f"id: b, {wait}, exclusive: g, priority: 2"
        )
    )
    state = running.load(None)
    feed(running, state, [cart(0), cart(120)])
    decisions = running.on_timers(state, USER, minutes(600)).decisions
    assert [(one.rule, one.reason) for one in decisions] == [
        ("b", "passed"),
        ("a", "exclusive"),
        ("b", "passed"),
        ("a", "exclusive"),
    ]


def test_a_local_day_is_that_of_the_user() -> None:
    running = engine(book("id: r, trigger: {event: cart_added}, guard: {cap: day}"))
    for zone, reasons in (("", ["passed", "passed"]), ("Europe/London", ["passed", "cap:day"])):
        state = running.load(None)
        # 23:59 and 00:00 in Shanghai are one day in London.
        decisions = feed(running, state, [cart(839, zone), cart(840)]).decisions
        assert [one.reason for one in decisions] == reasons


def failed(at_min: float, touch_id: str) -> Event:
    return event("touch_failed", at_min, touch_id=touch_id)


def test_a_touch_that_failed_gives_its_place_in_the_cap_back_once() -> None:
    running = engine(book("id: r, trigger: {event: cart_added}, guard: {cap: two}"))
    state = running.load(None)
    touches = feed(running, state, [cart(0), cart(1)]).touches
    assert told(feed(running, state, [cart(2)]).decisions) == [("suppressed", "cap:two")]
    state = running.load(running.dump(state))
    one = touches[0].touch_id
    decisions = feed(running, state, [failed(3, one), failed(3, one), failed(3, "x")]).decisions
    assert decisions == []
    decisions = feed(running, state, [cart(4), cart(5)]).decisions
    assert [one.reason for one in decisions] == ["passed", "cap:two"]


def test_what_is_kept_for_refunds_goes_with_the_cap() -> None:
    running = engine(book("id: r, trigger: {event: cart_added}, guard: {cap: two}"))
    state = running.load(None)
    feed(running, state, [cart(DAY_MIN * day) for day in range(9)])
    assert len(state.reserved) == len(state.caps["two"]) == 2


WORLD = "policies: {holdout: {percent: 30, salt: s1}}\n"


def outcomes(text: str, users: int = 300) -> dict[str, str]:
    running = engine(text)
    found = {}
    for number in range(users):
        one = cart(0)
        one.user = f"user_id:{number}"
        (decision,) = feed(running, running.load(None), [one]).decisions
        found[one.user] = decision.reason
    return found


def test_the_global_holdout_is_one_for_all_marketing_and_none_for_service() -> None:
    rule = "id: %s, trigger: {event: cart_added}"
    one, two = (outcomes(book(rule % name, head=WORLD)) for name in ("a", "b"))
    assert one == two
    assert {u for u in one if one[u] == "holdout:global"} == {
        u for u in one if make_share("holdout", "*s1", u) < 3000
    }
    assert set(one.values()) == {"passed", "holdout:global"}
    assert one != outcomes(book(rule % "a", head=WORLD.replace("s1", "s2")))
    service = outcomes(book(rule % "a" + ", purpose: service", head=WORLD))
    assert set(service.values()) == {"passed"}


def test_a_variant_is_told_in_every_decision_from_the_holdout_on() -> None:
    text = book(
        "id: r, trigger: {event: cart_added}, guard: {cap: day, holdout: 50}, "
        "variants: [{id: a, weight: 1}], audience: {properties.amount: 1}"
    )
    running = engine(text)
    variants: dict[str, str] = {}
    for number in range(20):
        state = running.load(None)
        ones = [cart(0), cart(1), event("cart_added", 2, sku="a", amount=2)]
        for one in ones:
            one.user = f"user_id:{number}"
        variants |= {one.reason: one.variant for one in feed(running, state, ones).decisions}
    assert variants == {"passed": "a", "cap:day": "a", "holdout": "a", "audience": ""}


def test_a_cooldown_by_key_holds_for_each_key() -> None:
    by = "reentry: {cooldown: 1h, by: properties.sku}"
    running = engine(book(f"id: r, trigger: {{event: cart_added}}, {by}"))
    state = running.load(None)
    other = event("cart_added", 1, sku="b", amount=1)
    decisions = feed(running, state, [cart(0), other, cart(2), cart(60)]).decisions
    assert [one.reason for one in decisions] == ["passed", "passed", "cooldown", "passed"]
    feed(running, state, [event("cart_added", 61, sku=f"s{i}", amount=1) for i in range(99)])
    assert len(state.rule("r").entered) == 64
    assert running.load(running.dump(state)) == state


def test_a_shadow_rule_holds_and_then_sends_nothing() -> None:
    running = engine(book(QUIET % "" + ", status: shadow"))
    state = running.load(None)
    total = feed(running, state, [cart(NIGHT)])
    add(total, run_on(running, state, 9999))
    assert told(total.decisions) == [("held", "quiet:night"), ("suppressed", "shadow")]
    assert total.touches == []


def test_timers_of_a_day_ago_still_send_and_older_ones_do_not() -> None:
    running = engine(book(QUIET % ""))
    for late_ms, outcome in ((0, "sent"), (60_000, "suppressed")):
        state = running.load(None)
        feed(running, state, [cart(NIGHT)])
        effects = running.on_timers(state, USER, minutes(MORNING) + DAY_MS + late_ms)
        assert [one.outcome for one in effects.decisions] == [outcome]


@pytest.mark.parametrize(
    "name",
    ["America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"],
)
def test_day_and_minute_are_those_of_the_calendar(name: str) -> None:
    zone = ZoneInfo(name)
    for start in ("2026-03-07T20:00+00:00", "2026-10-03T00:00+00:00", "2026-10-31T20:00+00:00"):
        for step in range(200):
            at_ms = at(start) + step * 7 * 60_000 + step
            shown = datetime.fromtimestamp(at_ms / 1000, zone)
            assert minutes_of(zone, at_ms) == shown.hour * 60 + shown.minute
            assert day_of(zone, at_ms) - day_of(zone, 0) == (
                shown.toordinal() - datetime.fromtimestamp(0, zone).toordinal()
            )
