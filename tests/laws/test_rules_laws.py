"""Laws of rules: whatever happens and in whatever batches it comes, the guards hold."""

from collections.abc import Iterable
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from schemas.policies import QuietHours
from schemas.touches import Decision, encode
from streams.core.engine import Engine
from streams.core.ids import make_share
from streams.core.rules.evaluation import Effects
from streams.core.rules.quiet_hours import QuietWindow
from streams.core.rules.zones import local
from streams.core.state.user import State
from tests.engine_story import DAY_MS, HOUR_MS, MINUTE_MS, add, engine, event, minutes

BOOK = """
tags:
- {id: n, kind: count, event: "*"}
- {id: orders, kind: count, event: order_paid}
- {id: fan, kind: flag, event: content_shared, ttl: 5h}
policies:
  holdout: {percent: 10}
  caps: {m: [{max: 2, per: local_day}, {max: 3, per: 2d}]}
  quiet: {night: {from: "22:00", to: "08:00"}}
  exclusive: {slow: {per: 6h}}
rules:
- id: flow
  trigger: {event: user_registered}
  guard: {cap: m, holdout: 20, quiet: {use: night}}
  reentry: {cooldown: 12h}
  exit: [{event: order_paid}]
  priority: 5
  steps:
  - {send: {via: [log], template: a}}
  - {wait: {for: 1h, until: "10:00"}}
  - branch:
      if: {tag.n: {gte: 9}}
      then: [{send: {via: [log], template: b}}]
      else: [{wait: {for: 3h}}]
  - {send: {via: [log], template: c}}
  goal: {event: order_paid, within: 1d}
- id: seq
  trigger: {sequence: {within: 4h, steps: [{event: app_started}, {event: cart_added}]}}
  guard: {cap: m, quiet: {use: night, hit: drop}}
  reentry: {cooldown: 3h, by: properties.sku}
  exclusive: g
  priority: 2
  steps: [{send: {via: [log], template: t}}]
- id: other
  trigger: {event: cart_added}
  exclusive: g
  guard: {cap: m, quiet: {use: night, max_hold: 5h, recheck: false}}
  steps: [{send: {via: [log], template: t}}]
- id: fanned
  trigger: {tag: {id: fan, leaves: true}}
  exclusive: slow
  steps: [{send: {via: [log], template: t}}]
- id: away
  trigger: {inactive: {for: 20h}}
  exclusive: slow
  priority: 1
  guard: {quiet: {use: night}}
  exit: [{event: order_paid}]
  steps: [{send: {via: [log], template: t}}, {wait: {for: 30m}}, {send: {via: [log], template: u}}]
- id: daily
  trigger: {date: {days: ["2026-03-04", "03-06"], at: "09:00"}}
  guard: {cap: m}
  steps: [{send: {via: [log], template: t}}]
"""
ENGINE = engine(BOOK)
NIGHT = QuietWindow(
    "night", QuietHours.model_validate({"from": "22:00", "to": "08:00"}), "Asia/Shanghai"
)
NAMES = ("user_registered", "order_paid", "app_started", "cart_added", "content_shared")
ZONES = ("America/New_York", "Asia/Shanghai", "Europe/London")
# The day that clocks in New York go forward lies in the story.
LAST_MS = minutes(0) + 12 * DAY_MS
# Two who are treated, one that the rule holds out and one that all do.
USERS = tuple(
    next(
        user
        for user in (f"user_id:{i}{name}" for i in range(999))
        if (make_share("holdout", "*global", user) < 1000) is world
        and (make_share("holdout", "flow", user) < 2000) is ours
    )
    for name, world, ours in (
        ("a", False, False),
        ("b", False, False),
        ("c", False, True),
        ("d", True, False),
    )
)
QUIETED = {"flow", "away", "seq", "other"}


@st.composite
def happenings(draw: st.DrawFn) -> Event:
    one = event(
        draw(st.sampled_from(NAMES)),
        # Dense around noon of some days, so that one thing meets another.
        draw(st.integers(0, 6)) * 24 * 60 + draw(st.sampled_from([0, 7, 60, 90, 600, 720, 800])),
        sku=draw(st.sampled_from(["a", "b"])),
        amount=1,
    )
    one.user = draw(st.sampled_from(USERS))
    one.received_at_ms += draw(st.sampled_from([0, 0, 0, 90, 900])) * MINUTE_MS
    if draw(st.booleans()):
        one.context = {"timezone": draw(st.sampled_from(ZONES))}
    return one


def arranged(story: list[Event]) -> list[Event]:
    """Return a log: in the order of arrival, each event with an id that the story gives it."""
    log = sorted(story, key=lambda one: one.received_at_ms)
    for i, one in enumerate(log):
        one.message_id = f"m{i}"
    return log


logs = st.lists(happenings(), min_size=5, max_size=40).map(arranged)


def play(
    log: Iterable[Event], *, cuts: Iterable[bool] = (), running: Engine = ENGINE
) -> dict[str, Effects]:
    """Play a log as the worker does; where it is cut, states go through their bytes."""
    states: dict[str, State] = {}
    told: dict[str, Effects] = {}
    cut = iter(cuts)

    def run_to(user: str, now_ms: int) -> None:
        while (at_ms := running.next_timer_ms(states[user])) is not None and at_ms <= now_ms:
            add(told[user], running.on_timers(states[user], user, at_ms))

    for one in log:
        state = states.setdefault(one.user, running.load(None))
        told.setdefault(one.user, Effects())
        if next(cut, False):
            states[one.user] = state = running.load(running.dump(state))
        run_to(one.user, one.received_at_ms)
        add(told[one.user], running.on_event(state, one))
    for user in states:
        run_to(user, LAST_MS)
    return told


def sent(effects: Effects, *rules: str) -> list[Decision]:
    return [d for d in effects.decisions if d.outcome == "sent" and (not rules or d.rule in rules)]


def left_at(decision: Decision, log: list[Event]) -> int:
    """Return when a touch really went out: events that came late are answered on arrival."""
    by_id = {one.message_id: one for one in log}
    cause = by_id.get(decision.trigger)
    if cause is None or decision.time_ms > cause.timestamp_ms:
        return decision.time_ms
    return max(decision.time_ms, cause.received_at_ms)


@settings(deadline=None)
@given(logs)
def test_no_two_entries_of_a_rule_are_inside_its_cooldown(log: list[Event]) -> None:
    for effects in play(log).values():
        told = [d for d in effects.decisions if d.rule == "flow"]
        entered = {d.trigger for d in told if d.outcome in ("sent", "held", "holdout")}
        # A cap may have taken the first send: the run was entered all the same.
        begun: dict[str, int] = {}
        for one in told:
            begun.setdefault(one.trigger, one.time_ms)
        times = sorted(begun[trigger] for trigger in entered)
        assert all(b - a >= 12 * HOUR_MS for a, b in pairwise(times))


@settings(deadline=None)
@given(logs)
def test_no_two_touches_of_a_key_are_inside_its_cooldown(log: list[Event]) -> None:
    skus = {one.message_id: one.properties["sku"] for one in log}
    for effects in play(log).values():
        for sku in ("a", "b"):
            times = sorted(one.time_ms for one in sent(effects, "seq") if skus[one.trigger] == sku)
            assert all(b - a >= 3 * HOUR_MS for a, b in pairwise(times))


@settings(deadline=None)
@given(logs)
def test_no_touch_goes_over_a_cap(log: list[Event]) -> None:
    for effects in play(log).values():
        capped = sent(effects, "flow", "seq", "other", "daily")
        times = sorted(left_at(one, log) for one in capped)
        for at_ms in times:
            assert sum(at_ms <= t < at_ms + 2 * DAY_MS for t in times) <= 3


@settings(deadline=None)
@given(logs)
def test_no_user_whose_zone_stays_gets_more_than_the_cap_in_a_local_day(log: list[Event]) -> None:
    for one in log:
        one.context = {"timezone": "America/New_York"}
    for effects in play(log).values():
        zone = ZoneInfo("America/New_York")
        capped = sent(effects, "flow", "seq", "other", "daily")
        days = [local(zone, left_at(told, log)).date() for told in capped]
        assert all(days.count(day) <= 2 for day in days)


@settings(deadline=None)
@given(logs, st.sampled_from(ZONES))
def test_nothing_is_sent_in_quiet_hours(log: list[Event], zone: str) -> None:
    for one in log:
        one.context = {"timezone": zone}
    for effects in play(log).values():
        for told in sent(effects, *QUIETED):
            assert NIGHT.end_ms(left_at(told, log), ZoneInfo(zone)) is None


@settings(deadline=None)
@given(logs)
def test_what_is_held_ends_in_one_way_or_another(log: list[Event]) -> None:
    for effects in play(log).values():
        held = [d for d in effects.decisions if d.outcome == "held"]
        for one in held:
            later = [
                d
                for d in effects.decisions
                if (d.rule, d.trigger) == (one.rule, one.trigger)
                and d is not one
                and d.time_ms >= one.time_ms
            ]
            assert later or one.time_ms > LAST_MS - DAY_MS


@settings(deadline=None)
@given(logs)
def test_nothing_is_sent_to_a_holdout(log: list[Event]) -> None:
    for user, effects in play(log).items():
        world = make_share("holdout", "*global", user) < 1000
        if world:
            assert not effects.touches
        if make_share("holdout", "flow", user) < 2000:
            assert not [one for one in effects.touches if one.rule == "flow"]


@settings(deadline=None)
@given(logs)
def test_nothing_of_a_run_is_sent_after_its_exit(log: list[Event]) -> None:
    for effects in play(log).values():
        gone: set[str] = set()
        for one in effects.decisions:
            if one.rule == "flow" and one.outcome == "exited" and one.reason == "exit":
                gone.add(one.trigger)
            assert not (one.rule == "flow" and one.outcome == "sent" and one.trigger in gone)


@settings(deadline=None)
@given(logs)
def test_an_exit_leaves_no_run_that_began_before_it(log: list[Event]) -> None:
    for user in {one.user for one in log}:
        state = ENGINE.load(None)
        for one in (one for one in log if one.user == user):
            ENGINE.on_event(state, one)
            if one.event == "order_paid":
                assert not [
                    r
                    for r in state.journeys
                    if r.rule == "flow"
                    and r.cause.time_ms <= min(one.timestamp_ms, one.received_at_ms)
                ]


@settings(deadline=None)
@given(logs)
def test_of_an_exclusive_group_one_rule_is_heard_at_an_event(log: list[Event]) -> None:
    for effects in play(log).values():
        heard: dict[str, set[str]] = {}
        for one in effects.decisions:
            past = one.reason in ("passed", "max_hold") or one.reason.startswith(("cap:", "quiet:"))
            if one.rule in ("seq", "other") and past:
                heard.setdefault(one.trigger, set()).add(one.rule)
        assert all(len(rules) == 1 for rules in heard.values())


@settings(deadline=None)
@given(logs)
def test_each_decision_and_each_touch_is_there_once(log: list[Event]) -> None:
    for effects in play(log).values():
        ids = [one.decision_id for one in effects.decisions]
        assert len(set(ids)) == len(ids)
        assert [d.touch_id for d in sent(effects)] == [one.touch_id for one in effects.touches]
        assert len({one.touch_id for one in effects.touches}) == len(effects.touches)


@settings(deadline=None)
@given(logs, st.lists(st.booleans(), min_size=40, max_size=40), st.integers(1, 4))
def test_the_same_log_gives_the_same_decisions_in_any_batches_and_partitions(
    log: list[Event], cuts: list[bool], partitions: int
) -> None:
    whole = play(log)
    parts: dict[str, Effects] = {}
    for partition in range(partitions):
        mine = [one for one in log if make_share(one.user) % partitions == partition]
        parts |= play(mine, cuts=cuts, running=engine_again())
    assert {user: encode([e.decisions, e.touches]) for user, e in parts.items()} == {
        user: encode([e.decisions, e.touches]) for user, e in whole.items()
    }


_AGAIN = [engine(BOOK)]


def engine_again() -> Engine:
    """Return another engine of the same rulebook: nothing may live in the engine itself."""
    return _AGAIN[0]


@settings(deadline=None)
@given(logs)
def test_states_stay_readable_and_empty_out(log: list[Event]) -> None:
    for user in {one.user for one in log}:
        state = ENGINE.load(None)
        for one in (one for one in log if one.user == user):
            ENGINE.on_event(state, one)
            assert ENGINE.load(ENGINE.dump(state)) == state
        while (at_ms := ENGINE.next_timer_ms(state)) is not None and at_ms < LAST_MS + 9 * DAY_MS:
            ENGINE.on_timers(state, user, at_ms)
        assert state.journeys == []
