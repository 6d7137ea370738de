from typing import Any

import pytest

from schemas.events import Event
from schemas.raw import Envelope, RawRecord
from streams.authoring.plan import shipped_plan
from streams.core.engine import Engine
from streams.core.intake.validate import Validator
from streams.core.state.user import State
from tests.engine_story import T0_MS, engine, event, feed, run_on

DAY_MIN = 24 * 60


def book(via: str = "mini.subscribe", purpose: str = "service", more: str = "") -> str:
    return (
        'policies: {quiet: {night: {from: "22:00", to: "08:00"}}, caps: {c: [{max: 1, per: 1d}]}, '
        "templates: {t: {mini.subscribe: T1, official.subscribe: T2}}}\n"
        f"rules: [{{id: r, purpose: {purpose}, trigger: {{event: coupon_received}}, {more} "
        f"steps: [{{send: {{via: [{via}], template: t}}}}]}}]"
    )


def coupon(at_min: float) -> Event:
    return event("coupon_received", at_min, coupon_id="k", amount=1)


def asked(at_min: float, *answers: str, template: str = "T1") -> Event:
    told = [{"template_id": template, "answer": answer} for answer in answers]
    return event("subscription_prompted", at_min, templates=told)


def reasons(running: Engine, state: State, story: list[Event]) -> list[str]:
    return [one.reason for one in feed(running, state, story).decisions]


def test_a_consent_is_good_for_one_send_and_consents_add_up() -> None:
    running = engine(book())
    state = running.load(None)
    story = [coupon(0), asked(1, "accept"), asked(2, "accept"), coupon(3)]
    assert reasons(running, state, story) == ["consent", "passed"]
    state = running.load(running.dump(state))
    assert reasons(running, state, [coupon(4), coupon(5)]) == ["passed", "consent"]


def test_the_touch_names_the_platform_s_template_and_the_decision_what_was_missing() -> None:
    running = engine(book("mini.subscribe, log"))
    state = running.load(None)
    effects = feed(running, state, [asked(0, "accept"), coupon(1), coupon(2)])
    first, second = effects.touches
    assert first.via == ["mini.subscribe", "log"]
    assert first.template_ids == {"mini.subscribe": "T1"}
    assert (second.via, second.template_ids) == (["log"], {})
    assert effects.decisions[1].trace == [{"if": "consent given", "value": "log", "ok": True}]


@pytest.mark.parametrize("answer", ["reject", "ban"])
def test_a_refusal_takes_back_all_consents_before_it(answer: str) -> None:
    running = engine(book())
    story = [asked(0, "accept"), asked(1, "accept"), asked(2, answer), coupon(3)]
    story += [asked(4, "accept"), coupon(5)]
    assert reasons(running, running.load(None), story) == ["consent", "passed"]


def test_an_earlier_consent_that_arrives_after_the_refusal_does_not_count() -> None:
    running = engine(book())
    story = [asked(2, "reject"), asked(1, "accept"), asked(2, "accept"), coupon(3)]
    assert reasons(running, running.load(None), story) == ["consent"]


def test_a_refusal_that_arrives_late_leaves_the_consents_after_it() -> None:
    running = engine(book())
    story = [asked(1, "accept"), asked(3, "accept"), asked(2, "reject"), coupon(4), coupon(5)]
    assert reasons(running, running.load(None), story) == ["passed", "consent"]


@pytest.mark.parametrize(
    ("name", "entry", "reason"),
    [
        ("subscription_prompted", {"template_id": "T1", "answer": "filter"}, "passed"),
        ("subscription_prompted", {"template_id": "T2", "answer": "reject"}, "passed"),
        ("subscription_prompted", {"answer": "reject"}, "passed"),
        ("subscription_prompted", "T1", "passed"),
        ("subscription_changed", {"template_id": "T1", "answer": "reject"}, "consent"),
        ("subscription_message_reported", {"template_id": "T1", "code": "0"}, "passed"),
        ("subscription_message_reported", {"template_id": "T1", "code": 43101}, "consent"),
        (
            "subscription_message_reported",
            {"template_id": "T1", "code": "1", "status": "failed: user refuse"},
            "consent",
        ),
    ],
)
def test_what_wechat_tells_of_a_template(name: str, entry: object, reason: str) -> None:
    running = engine(book())
    story = [asked(0, "accept"), event(name, 1, templates=[entry]), coupon(2)]
    assert reasons(running, running.load(None), story) == [reason]


def test_only_a_prompt_gives_consents() -> None:
    running = engine(book())
    change = event("subscription_changed", 0, templates=[{"template_id": "T1", "answer": "accept"}])
    assert reasons(running, running.load(None), [change, coupon(1)]) == ["consent"]


@pytest.mark.parametrize("told", [None, "T1", {}, [None]])
def test_templates_that_are_none_are_passed_over(told: object) -> None:
    running = engine(book())
    story = [event("subscription_prompted", 0, templates=told), coupon(1)]
    assert reasons(running, running.load(None), story) == ["consent"]


@pytest.mark.parametrize(
    ("told", "later_reason"),
    [
        ({"channel": "mini.subscribe", "template": "t", "code": "not_configured"}, "passed"),
        ({"channel": "mini.subscribe", "template": "t", "code": "43101"}, "consent"),
        ({"channel": "webhook", "template": "t", "code": "http_500"}, "consent"),
        ({"channel": "mini.subscribe", "template": "other", "code": "x"}, "consent"),
        ({}, "consent"),
    ],
)
def test_a_touch_that_failed_gives_its_consent_back(
    told: dict[str, Any], later_reason: str
) -> None:
    running = engine(book())
    story = [asked(0, "accept"), coupon(1), event("touch_failed", 2, **told), coupon(3)]
    assert reasons(running, running.load(None), story) == ["passed", later_reason]


def test_a_failure_after_a_refusal_gives_nothing_back() -> None:
    running = engine(book())
    failed = event("touch_failed", 3, channel="mini.subscribe", template="t", code="unreachable")
    story = [asked(0, "accept"), coupon(1), asked(2, "reject"), failed, coupon(4)]
    assert reasons(running, running.load(None), story) == ["passed", "consent"]


@pytest.mark.parametrize(("answer", "reason"), [("accept", "passed"), ("reject", "consent")])
def test_a_push_of_a_mini_program_gives_the_consent(answer: str, reason: str) -> None:
    pushed = f"""{{"ToUserName": "gh_1", "FromUserName": "oM", "CreateTime": {T0_MS // 1000},
        "MsgType": "event", "Event": "subscribe_msg_popup_event", "List": [
        {{"TemplateId": "T1", "SubscribeStatusString": "{answer}", "PopupScene": "0"}}]}}"""
    envelope = Envelope(door="wechat", source="mini_program", account="wx1", received_at_ms=T0_MS)
    told = Validator(b"key", shipped_plan()).event(RawRecord(envelope, pushed.encode()), 0, 0)
    assert isinstance(told, Event)
    running = engine(book())
    assert reasons(running, running.load(None), [told, coupon(1)]) == [reason]


def test_what_is_held_asks_for_its_consent_when_it_goes_out() -> None:
    running = engine(book(more="guard: {quiet: {use: night}},"))
    for answer, reason in (("accept", "passed"), ("reject", "consent")):
        state = running.load(None)
        story = [asked(0, "accept"), coupon(13 * 60), asked(13 * 60 + 1, answer)]
        assert reasons(running, state, story) == ["quiet:night"]
        assert [one.reason for one in run_on(running, state, 9999).decisions] == [reason]


def test_a_send_that_its_cap_holds_back_uses_up_no_consent() -> None:
    running = engine(book(more="guard: {cap: c},"))
    story = [asked(0, "accept"), asked(0, "accept"), coupon(1), coupon(2), coupon(1 + DAY_MIN)]
    assert reasons(running, running.load(None), story) == ["passed", "cap:c", "passed"]


@pytest.mark.parametrize(
    ("channel", "purpose", "via"),
    [
        ({}, "marketing", []),
        ({"channel": "sms"}, "marketing", ["log"]),
        ({"channel": "log"}, "marketing", ["sms"]),
        ({"channel": "email"}, "marketing", ["sms", "log"]),
        ({"channel": 7}, "marketing", ["sms", "log"]),
        ({}, "service", ["sms", "log"]),
    ],
)
def test_marketing_that_was_refused_does_not_go_out(
    channel: dict[str, Any], purpose: str, via: list[str]
) -> None:
    running = engine(book("sms, log", purpose))
    state = running.load(None)
    effects = feed(running, state, [event("marketing_refused", 0, **channel), coupon(1)])
    assert [touch.via for touch in effects.touches] == ([via] if via else [])
    assert effects.decisions[0].reason == ("passed" if via else "refused")


def test_marketing_is_allowed_again_by_the_latest_answer_whatever_arrives_first() -> None:
    running = engine(book("sms", "marketing"))
    no, yes = event("marketing_refused", 1), event("marketing_allowed", 2)
    for story in ([no, yes], [yes, no]):
        assert reasons(running, running.load(None), [*story, coupon(3)]) == ["passed"]
    both = [event("marketing_allowed", 1), event("marketing_refused", 1)]
    for story in (both, both[::-1]):
        assert reasons(running, running.load(None), [*story, coupon(3)]) == ["refused"]


@pytest.mark.parametrize("via", ["official.template", "official.service"])
def test_who_unfollowed_is_out_of_reach_until_they_follow_again(via: str) -> None:
    running = engine(book(via))
    wrote = event("message_received", 0)
    wrote.source = "official_account"
    followed = event("official_account_followed", 5)
    story = [wrote, coupon(1), event("official_account_unfollowed", 2), coupon(3)]
    story += [followed, coupon(6)]
    assert reasons(running, running.load(None), story) == ["passed", "channel:closed", "passed"]


def test_strangers_cannot_fill_the_state() -> None:
    running = engine(book("sms", "marketing"))
    state = running.load(None)
    story = [event("marketing_refused", i, channel=f"c{i}") for i in range(100)]
    story += [asked(i, *["accept"] * 100, template=f"X{i}") for i in range(100)]
    feed(running, state, story)
    assert len(state.answers) == len(state.consents) == 64
    assert "c99" in state.answers
    assert reasons(running, state, [event("marketing_refused", 200), coupon(201)]) == ["refused"]
    assert len(state.answers) == 64
    assert "X99" in state.consents
    assert all(len(consent.times) == 64 for consent in state.consents.values())
