from datetime import datetime
from itertools import permutations
from zoneinfo import ZoneInfo

import pytest

from schemas.events import Event
from streams.core.rules.scheduled import parse_birthday
from tests.engine_story import DAY_MS, SEND, USER, engine, event, feed, minutes, run_on, told

DAY_MIN = 24 * 60
SHANGHAI = ZoneInfo("Asia/Shanghai")


def rule(body: str, *, head: str = "", name: str = "r") -> str:
    return f"{head}rules:\n- {{id: {name}, {body}, {SEND}}}"


LOOK_CART_PAY = rule(
    "trigger: {sequence: {within: 1h, join: [properties.sku], steps: "
    "[{event: product_viewed}, {event: product_viewed}, {event: cart_added, "
    "where: {properties.amount: {gte: 10}}}]}}"
)


def look(at_min: float, sku: str = "a") -> Event:
    return event("product_viewed", at_min, sku=sku)


def put(at_min: float, sku: str = "a", amount: float = 20) -> Event:
    return event("cart_added", at_min, sku=sku, cart_id="c", amount=amount)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_sequence_fires_once_in_whatever_order_its_events_arrive(order: tuple[int, ...]) -> None:
    running = engine(LOOK_CART_PAY)
    story = [look(0), look(10), put(60)]
    effects = feed(running, running.load(None), [story[i] for i in order])
    assert told(effects.decisions) == [("sent", "passed")]


@pytest.mark.parametrize(
    "story",
    [
        [look(0), look(10), put(60.1)],  # over an hour from the first
        [look(0), look(0), put(5)],  # two in one moment are no sequence
        [look(0), put(5), look(10)],  # another order
        [look(0), look(1, "b"), put(5)],  # of different products
        [look(0), look(1), put(5, amount=9)],  # where does not hold
    ],
)
def test_a_sequence_that_is_not_whole_does_not_fire(story: list[Event]) -> None:
    running = engine(LOOK_CART_PAY)
    assert not feed(running, running.load(None), story).decisions


def test_what_a_sequence_used_up_begins_no_second_one() -> None:
    running = engine(LOOK_CART_PAY)
    state = running.load(None)
    story = [look(0), look(10), put(20), put(21), look(22), look(23), put(24)]
    state = running.load(running.dump(state))
    decisions = feed(running, state, story).decisions
    assert [one.time_ms for one in decisions] == [minutes(20), minutes(24)]


AWAY = rule("trigger: {inactive: {for: 30d}}")


def test_inactivity_fires_once_at_its_time_and_again_only_after_a_return() -> None:
    running = engine(AWAY, settle_ms=3000)
    state = running.load(None)
    feed(running, state, [event("app_started", 0), event("app_started", 5)])
    assert not run_on(running, state, 30 * DAY_MIN + 5).decisions
    state = running.load(running.dump(state))
    (decision,) = run_on(running, state, 100 * DAY_MIN).decisions
    assert (decision.outcome, decision.time_ms) == ("sent", minutes(30 * DAY_MIN + 5))
    assert (decision.trigger_kind, decision.trigger) == ("inactive", "")
    assert running.next_timer_ms(state) is None
    feed(running, state, [event("app_started", 3)])  # an old one is no return
    assert running.next_timer_ms(state) is None
    feed(running, state, [event("app_started", 101 * DAY_MIN)])
    assert len(run_on(running, state, 200 * DAY_MIN).decisions) == 1


def test_inactivity_counts_the_events_that_it_names() -> None:
    running = engine(rule("trigger: {inactive: {event: order_paid, for: 1d}}"))
    state = running.load(None)
    order = event("order_paid", 0, order_id="o", amount=1)
    feed(running, state, [order, event("app_started", 600)])
    assert [one.time_ms for one in run_on(running, state, 9999).decisions] == [minutes(DAY_MIN)]


def test_inactivity_over_a_day_overdue_is_too_late() -> None:
    running = engine(AWAY)
    state = running.load(None)
    feed(running, state, [event("app_started", 0)])
    effects = running.on_timers(state, USER, minutes(31 * DAY_MIN) + 10_000)
    assert told(effects.decisions) == [("suppressed", "late")]


STAGE = (
    "tags:\n- {id: life, kind: stage, stages: [{active: {since_last: {lt: 10d}}}], else: gone}\n"
    "- {id: spent, kind: sum, event: order_paid, value: properties.amount}\n"
    "- {id: fan, kind: flag, event: content_shared, ttl: 1h}\n"
)


def test_a_tag_that_time_moves_fires_at_its_time() -> None:
    running = engine(rule("trigger: {tag: {id: life, enters: gone}}", head=STAGE))
    state = running.load(None)
    feed(running, state, [event("app_started", 0)])
    (decision,) = run_on(running, state, 11 * DAY_MIN).decisions
    assert (decision.outcome, decision.time_ms) == ("sent", minutes(10 * DAY_MIN))


@pytest.mark.parametrize(("way", "at_min"), [("enters", 2), ("leaves", 4)])
def test_a_tag_fires_when_it_crosses_a_bound_not_beyond_it(way: str, at_min: int) -> None:
    running = engine(rule(f"trigger: {{tag: {{id: spent, {way}: {{gte: 100}}}}}}", head=STAGE))
    amounts = [60, 60, 60, -110, 1]
    orders = [
        event("order_paid", i + 1, order_id="o", amount=amount) for i, amount in enumerate(amounts)
    ]
    decisions = feed(running, running.load(None), orders).decisions
    assert [one.time_ms for one in decisions] == [minutes(at_min)]
    assert decisions[0].trigger == orders[at_min - 1].message_id


def test_a_flag_that_runs_out_is_left() -> None:
    running = engine(rule("trigger: {tag: {id: fan, leaves: true}}", head=STAGE))
    state = running.load(None)
    feed(running, state, [event("content_shared", 0, path="p")])
    assert [one.time_ms for one in run_on(running, state, 99).decisions] == [minutes(60)]


def born(value: str, at_min: float = 0, zone: str = "") -> Event:
    one = event("user_identified", at_min)
    one.traits = {"birthday": value}
    one.context = {"timezone": zone} if zone else {}
    return one


BIRTHDAY = rule('trigger: {date: {birthday: traits.birthday, at: "09:00"}}')
NINE_MIN = 23 * 60  # 09:00 in Shanghai, from T0 at 10:00 on the 2nd of March


def test_a_birthday_fires_each_year_at_its_local_time() -> None:
    running = engine(BIRTHDAY)
    state = running.load(None)
    feed(running, state, [born("1990-03-05")])
    state = running.load(running.dump(state))
    decisions = run_on(running, state, 800 * DAY_MIN).decisions
    days = [2, 2 + 365, 2 + 365 + 366]  # 2028 has a leap day
    assert [one.time_ms for one in decisions] == [minutes(NINE_MIN + d * DAY_MIN) for d in days]
    assert len({one.decision_id for one in decisions}) == 3


def test_a_birthday_of_today_is_greeted_before_its_time_only() -> None:
    running = engine(BIRTHDAY)
    for at_min, greeted in ((-61, True), (-60, False)):
        state = running.load(None)
        feed(running, state, [born("03-02", at_min)])
        assert bool(run_on(running, state, DAY_MIN).decisions) is greeted


@pytest.mark.parametrize(("leap", "day"), [("feb28", "2027-02-28"), ("mar1", "2027-03-01")])
def test_who_was_born_on_a_leap_day_is_greeted_in_every_year(leap: str, day: str) -> None:
    running = engine(BIRTHDAY.replace("}}", f", leap: {leap}}}}}", 1))
    state = running.load(None)
    feed(running, state, [born("1992-02-29")])
    decisions = run_on(running, state, 3 * 366 * DAY_MIN).decisions
    times = [datetime.fromtimestamp(one.time_ms / 1000, SHANGHAI) for one in decisions]
    assert [f"{one:%Y-%m-%d %H:%M}" for one in times[:2]] == [f"{day} 09:00", "2028-02-29 09:00"]
    assert len(times) == 3


def test_a_birthday_is_where_the_user_is_also_after_they_moved() -> None:
    running = engine(BIRTHDAY)
    state = running.load(None)
    feed(running, state, [born("03-05", zone="America/New_York")])
    feed(running, state, [born("03-05", DAY_MIN, zone="Europe/Berlin")])
    (decision,) = run_on(running, state, 300 * DAY_MIN).decisions
    # 09:00 in Berlin is 16:00 in Shanghai.
    assert decision.time_ms == minutes(NINE_MIN + 2 * DAY_MIN + 7 * 60)


def test_moving_west_on_the_birthday_does_not_bring_a_second_one() -> None:
    running = engine(BIRTHDAY)
    state = running.load(None)
    feed(running, state, [born("03-03", zone="Asia/Shanghai")])
    assert len(run_on(running, state, NINE_MIN + 5).decisions) == 1
    feed(running, state, [born("03-03", NINE_MIN + 6, zone="America/New_York")])
    assert not run_on(running, state, 300 * DAY_MIN).decisions


def test_a_corrected_birthday_takes_the_place_of_the_old_one() -> None:
    running = engine(BIRTHDAY)
    state = running.load(None)
    feed(running, state, [born("03-05"), born("03-07", 1), born("nonsense", 2)])
    assert not run_on(running, state, 300 * DAY_MIN).decisions
    feed(running, state, [born("12-30", 301 * DAY_MIN)])
    assert len(run_on(running, state, 310 * DAY_MIN).decisions) == 1


def test_a_birthday_in_a_tag_and_days_before_it() -> None:
    head = "tags: [{id: born, kind: last, event: user_identified, value: traits.birthday}]\n"
    text = rule('trigger: {date: {birthday: tag.born, at: "09:00", before: 3d}}', head=head)
    running = engine(text)
    state = running.load(None)
    feed(running, state, [born("2001-03-09")])
    (decision,) = run_on(running, state, 300 * DAY_MIN).decisions
    assert decision.time_ms == minutes(NINE_MIN + 3 * DAY_MIN)


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        ("1990-03-05", "03-05"),
        ("1990/3/5", "03-05"),
        ("19900305", "03-05"),
        ("3.5", "03-05"),
        ("1990-03-05T00:00:00Z", "03-05"),
        ("02-29", "02-29"),
        ("02-30", ""),
        ("13-01", ""),
        ("", ""),
        (None, ""),
        (19900305, ""),
        ("5 March", ""),
    ],
)
def test_birthdays_are_read_as_clients_write_them(raw: object, day: str) -> None:
    assert parse_birthday(raw) == day


FESTIVAL = rule('trigger: {date: {days: ["2026-03-03", 2027-02-06, "12-25"], at: "09:00"}}')


def test_festivals_fire_on_each_of_their_days() -> None:
    running = engine(FESTIVAL)
    state = running.load(None)
    feed(running, state, [event("app_started", 0)])
    decisions = run_on(running, state, 400 * DAY_MIN).decisions
    days = [0, 297, 340]  # 3 March, Christmas, the lunar new year of 2027
    assert [one.time_ms for one in decisions] == [minutes(NINE_MIN + d * DAY_MIN) for d in days]


def test_a_day_that_the_rulebook_took_out_does_not_fire() -> None:
    running = engine(FESTIVAL)
    state = running.load(None)
    feed(running, state, [event("app_started", 0)])
    other = engine(FESTIVAL.replace("2026-03-03", "2026-03-04"))
    decisions = run_on(other, other.load(running.dump(state)), 10 * DAY_MIN).decisions
    assert [one.time_ms for one in decisions] == [minutes(NINE_MIN + DAY_MIN)]


def test_alarms_of_rules_that_are_paused_or_gone_vanish() -> None:
    running = engine(AWAY)
    state = running.load(None)
    feed(running, state, [event("app_started", 0)])
    for text in (AWAY.replace("id: r,", "id: r, status: paused,"), "tags: []"):
        other = engine(text)
        left = other.load(running.dump(state))
        assert not other.on_timers(left, USER, minutes(0) + 40 * DAY_MS).decisions
        assert other.next_timer_ms(left) is None
