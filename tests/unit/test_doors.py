import json
from typing import Any

import pytest

from schemas.events import Event
from schemas.inbound import Door
from schemas.raw import Envelope, RawRecord
from schemas.rejects import Reject
from streams.authoring.plan import shipped_plan
from streams.core.intake import attribution
from streams.core.intake.validate import Validator

VALIDATOR = Validator(b"unit-key", shipped_plan())
RECEIVED_MS = 1_782_900_000_000


def judge(door: Door, body: bytes) -> Event | Reject:
    envelope = Envelope(door=door, source="server", account="wx1", received_at_ms=RECEIVED_MS)
    return VALIDATOR.event(RawRecord(envelope, body), 0, 0)


def sensors(**fields: Any) -> Event:  # noqa: ANN401 - fields of a JSON item
    item = {"type": "track", "event": "wrote", "distinct_id": "d-1", "time": RECEIVED_MS, **fields}
    outcome = judge("sensors", json.dumps(item).encode())
    assert isinstance(outcome, Event), outcome
    return outcome


def wechat(xml: str) -> Event | Reject:
    head = "<FromUserName>o6</FromUserName><CreateTime>1782900000</CreateTime>"
    return judge("wechat", f"<xml>{head}{xml}</xml>".encode())


def test_a_resend_of_sensors_has_the_same_message_id() -> None:
    assert (
        sensors(_track_id=1, _flush_time=1).message_id
        == sensors(_track_id=1, _flush_time=2).message_id
    )
    assert sensors(_track_id=1).message_id != sensors(_track_id=2).message_id
    assert sensors(_track_id=1).message_id != sensors(_track_id=1, time=5).message_id


def test_profile_items_differ_by_their_payload() -> None:
    def profile(level: int, flush_ms: int) -> str:
        fields = {"type": "profile_set", "properties": {"level": level}, "_flush_time": flush_ms}
        return sensors(**fields).message_id

    assert profile(1, 5) == profile(1, 6) != profile(2, 5)


def test_preset_properties_never_hide_the_callers() -> None:
    event = sensors(properties={"$url_path": "/a", "path": "/b", "$title": "t", "$": 1})
    assert event.properties == {"$url_path": "/a", "path": "/b", "title": "t", "$": 1}


def test_several_openids_of_a_user_are_all_kept() -> None:
    event = sensors(identities={"$identity_mp_wxA_openid": "oA", "$identity_mp_wxB_openid": "oB"})
    assert event.user == "openid:wxA:oA"
    assert event.context["identities"] == {"$identity_mp_wxB_openid": "wxB:oB"}


def test_a_distinct_id_that_repeats_a_phone_is_not_kept_beside_it() -> None:
    event = sensors(distinct_id="13800138000", identities={"$identity_mobile": "13800138000"})
    assert set(event.identities) == {"phone_hmac"}


def test_a_login_outranks_the_device() -> None:
    assert sensors(login_id="u-1", anonymous_id="a-1").identities == {
        "user_id": "u-1",
        "anonymous_id": "a-1",
    }
    assert sensors(properties={"$is_login_id": True}).identities == {"user_id": "d-1"}
    assert sensors().identities == {"anonymous_id": "d-1"}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"$utm_source": "Douyin", "$scene": "wx-1007"}, "campaign:douyin"),
        ({"$share_depth": 1, "$scene": "wx-1089"}, "share"),
        ({"$scene": "wx-1007"}, "share"),
        ({"$scene": 1047}, "qr"),
        ({"$scene": "1089"}, "direct"),
        ({"$scene": "wx-1999"}, "scene:1999"),
        ({"$scene": "wx-1089", "$latest_utm_source": "x"}, "direct"),
        ({"$latest_utm_source": "x"}, "campaign:x"),
        ({"$scene": "未取到值"}, None),
        ({"$utm_source": ""}, None),
    ],
)
def test_the_channel_is_this_visits_before_the_latest(
    properties: dict[str, Any], expected: str | None
) -> None:
    assert sensors(properties=properties).context.get("channel") == expected


def test_a_segment_context_names_its_channel() -> None:
    assert attribution.of_context({"channel": " store ", "campaign": {"source": "x"}}) == "store"
    assert attribution.of_context({"campaign": {"source": "Weibo"}}) == "campaign:weibo"
    assert attribution.of_context({"campaign": "x", "scene": 1011}) == "qr"
    assert attribution.of_context({}) is None


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("<MsgType>text", "not_xml"),
        ("<MsgType>&#0;</MsgType>", "not_xml"),
        ("<MsgType>&a;</MsgType>", "not_xml"),
        ("<a>" * 40 + "</a>" * 40, "too_deep"),
        ("", "missing_field"),
        ("<Content>" + "x" * 70_000 + "</Content>", "too_long"),
    ],
)
def test_a_message_that_is_none_is_refused_with_its_reason(xml: str, reason: str) -> None:
    outcome = wechat(xml)
    assert isinstance(outcome, Reject)
    assert outcome.reason == reason


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_entity_bomb_is_refused_before_it_expands(encoding: str) -> None:
    levels = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    bomb = f'<!DOCTYPE x [<!ENTITY e0 "boom">{levels}]><xml><Content>&e9;</Content></xml>'
    outcome = judge("wechat", bomb.encode(encoding))
    assert isinstance(outcome, Reject)
    assert outcome.reason in {"doctype", "not_utf8"}


def test_a_declared_encoding_cannot_change_the_reading() -> None:
    xml = '<?xml version="1.0" encoding="gbk"?><xml><FromUserName>o6</FromUserName>'
    xml += "<CreateTime>1</CreateTime><MsgType>text</MsgType><Content>你好</Content></xml>"
    outcome = judge("wechat", xml.encode())
    assert isinstance(outcome, Event)
    assert outcome.properties["content"] == "你好"


def test_an_undecrypted_message_is_refused() -> None:
    outcome = judge("wechat", b"<xml><ToUserName>gh</ToUserName><Encrypt>abc</Encrypt></xml>")
    assert isinstance(outcome, Reject)
    assert outcome.reason == "encrypted"


def test_a_location_that_is_no_number_is_refused() -> None:
    xml = "<MsgType>event</MsgType><Event>LOCATION</Event><Latitude>north</Latitude>"
    outcome = wechat(xml)
    assert isinstance(outcome, Reject)
    assert outcome.detail.startswith("properties.latitude")


def test_an_unknown_push_keeps_its_name_within_the_limit() -> None:
    outcome = wechat(f"<MsgType>event</MsgType><Event>{'aB' * 50}</Event><AnyKey>1</AnyKey>")
    assert isinstance(outcome, Event)
    assert len(outcome.event) == 128
    assert outcome.properties == {"any_key": "1"}
    unnamed = wechat("<MsgType>event</MsgType>")
    assert isinstance(unnamed, Reject)
    assert unnamed.reason == "missing_field"


def test_two_reports_in_one_second_are_two_events() -> None:
    def report(number: int) -> str:
        xml = "<MsgType>event</MsgType><Event>TEMPLATESENDJOBFINISH</Event><Status>success</Status>"
        outcome = wechat(f"{xml}<MsgID>{number}</MsgID>")
        assert isinstance(outcome, Event)
        return outcome.message_id

    assert report(1) == report(1) != report(2)
