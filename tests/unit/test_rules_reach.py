import pytest

from schemas.events import Event
from tests.engine_story import engine, event, feed, run_on

HOURS_48 = 48 * 60


def book(via: str, more: str = "") -> str:
    return (
        'policies: {quiet: {night: {from: "22:00", to: "08:00"}}, '
        "templates: {t: {mini.subscribe: T1}}}\n"
        f"rules: [{{id: r, purpose: service, trigger: {{event: coupon_received}}, {more} "
        f"steps: [{{send: {{via: [{via}], template: t}}}}]}}]"
    )


def act(name: str, at_min: float, source: str = "official_account") -> Event:
    one = event(name, at_min)
    one.source = source  # type: ignore[assignment]  # one of the sources, given by a test
    return one


def coupon(at_min: float) -> Event:
    return event("coupon_received", at_min, coupon_id="k", amount=1)


@pytest.mark.parametrize(
    ("name", "source", "after_min", "reason"),
    [
        ("message_received", "official_account", HOURS_48, "passed"),
        ("message_received", "official_account", HOURS_48 + 0.001, "channel:closed"),
        ("message_received", "mini_program", 1, "channel:closed"),
        ("official_account_followed", "official_account", 1, "passed"),
        ("official_account_followed", "official_account", 1.001, "channel:closed"),
        ("order_paid", "app", HOURS_48, "passed"),
        ("app_started", "app", 1, "channel:closed"),
    ],
)
def test_a_window_is_open_for_its_time_after_the_act_that_opens_it(
    name: str, source: str, after_min: float, reason: str
) -> None:
    running = engine(book("official.service"))
    state = running.load(None)
    feed(running, state, [act(name, 0, source)])
    state = running.load(running.dump(state))
    (decision,) = feed(running, state, [coupon(after_min)]).decisions
    assert decision.reason == reason


def test_a_window_holds_so_many_messages_and_the_next_act_opens_it_anew() -> None:
    running = engine(book("official.service"))
    story = [
        act("message_received", 0),
        *(coupon(m) for m in range(1, 7)),
        act("official_account_menu_clicked", 7),
        coupon(7.5),
    ]
    decisions = feed(running, running.load(None), story).decisions
    assert [one.reason for one in decisions] == ["passed"] * 5 + ["channel:closed", "passed"]


def test_a_click_does_not_shorten_the_window_of_a_message() -> None:
    running = engine(book("official.service"))
    story = [act("message_received", 0), act("official_account_menu_clicked", 1), coupon(60)]
    assert feed(running, running.load(None), story).decisions[0].reason == "passed"


def test_a_touch_goes_over_the_channels_that_are_open() -> None:
    running = engine(book("official.service, app.push, log"))
    state = running.load(None)
    closed, opened = (
        feed(running, state, story).touches[0]
        for story in ([coupon(0)], [act("message_received", 1), coupon(2)])
    )
    assert closed.via == ["app.push", "log"]
    assert opened.via == ["official.service", "app.push", "log"]
    assert state.windows["official.service"][1] == 4


def test_the_window_is_looked_at_again_after_a_hold() -> None:
    running = engine(book("official.service", "guard: {quiet: {use: night}},"))
    state = running.load(None)
    # The message of 09:00 two days ago: its window ends at 09:00, then at 07:00.
    for opened, reason in ((-25 * 60, "passed"), (-27 * 60, "channel:closed")):
        state = running.load(None)
        feed(running, state, [act("message_received", opened), coupon(13 * 60)])
        (decision,) = run_on(running, state, 9999).decisions
        assert decision.reason == reason
