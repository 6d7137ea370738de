import asyncio
import hashlib
import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from pydantic import SecretStr, ValidationError
from wechatpy.crypto import WeChatCrypto

from schemas.events import Event
from schemas.raw import Envelope, RawRecord
from schemas.sources import Reply, Sources, WeChatAccount, WeComAccount
from streams.authoring.plan import shipped_plan
from streams.core.intake.validate import Validator
from streams.sources.records import Arrival, Refusal, accept
from streams.sources.wechat import official_account, replies, wecom
from streams.sources.wechat.official_account import Pushed

KEY = "GFEDCBA9876543210zyxwvutsrqponmlkjihgfedcbA"
OLD = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
TOKEN, TIME, NONCE = "AAAAA", "1714037059", "486452656"
CORP, APPID = "ww0123456789abcdef", "wx0123456789abcdef"
COMPANY = WeComAccount(name="c", token=SecretStr(TOKEN), aes_keys=[SecretStr(KEY), SecretStr(OLD)])
ARRIVAL = Arrival(received_at_ms=1_714_037_060_000, request_id="r")
ADDED = f"""<xml><ToUserName><![CDATA[{CORP}]]></ToUserName>
<FromUserName><![CDATA[sys]]></FromUserName><CreateTime>{TIME}</CreateTime>
<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_external_contact]]></Event>
<ChangeType><![CDATA[add_external_contact]]></ChangeType><UserID><![CDATA[zhang]]></UserID>
<ExternalUserID><![CDATA[wm1]]></ExternalUserID><State><![CDATA[teststate]]></State>
<WelcomeCode><![CDATA[WELCOME]]></WelcomeCode></xml>"""


def seal(message: str, receiver: str, key: str = KEY) -> tuple[dict[str, str], bytes]:
    """Seal as the platform does, by another implementation than ours."""
    body = str(WeChatCrypto(TOKEN, key, receiver).encrypt_message(message, NONCE, TIME))
    sealed = body.split("<Encrypt><![CDATA[")[1].split("]]>", maxsplit=1)[0]
    parts = "".join(sorted((TOKEN, TIME, NONCE, sealed))).encode()
    digest = hashlib.sha1(parts).hexdigest()  # noqa: S324 - WeChat's choice
    return {"timestamp": TIME, "nonce": NONCE, "msg_signature": digest}, body.encode()


def event_of(message: bytes) -> Event:
    envelope = Envelope(
        door="wecom", source="wecom", account=CORP, received_at_ms=1_714_037_060_000
    )
    found = Validator(b"k", shipped_plan()).event(RawRecord(envelope, message), 0, 0)
    assert isinstance(found, Event), found
    return found


@pytest.mark.parametrize("key", [KEY, OLD])
def test_a_sealed_contact_event_becomes_the_contact_s_event(key: str) -> None:
    record = wecom.read(CORP, COMPANY, *seal(ADDED, CORP, key), ARRIVAL)
    assert not isinstance(record, Refusal)
    assert record.key == f"openid:{CORP}:wm1".encode()
    event = event_of(record.value)
    assert (event.event, event.user) == ("wecom_contact_added", f"openid:{CORP}:wm1")
    assert event.source == event.door == "wecom"
    assert event.timestamp_ms == int(TIME) * 1000
    assert event.context["channel"] == "qr:teststate"
    assert event.context["welcome_code"] == "WELCOME"
    assert event.context["staff"] == "zhang"
    assert event.properties == {}


def test_two_contacts_of_one_second_are_two_facts() -> None:
    one, other = event_of(ADDED.encode()), event_of(ADDED.replace("wm1", "wm2").encode())
    assert one.message_id != other.message_id
    assert one.message_id == event_of(ADDED.encode()).message_id


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("edit_external_contact", "wecom_contact_edited"),
        ("add_half_external_contact", "wecom_contact_half_added"),
        ("del_external_contact", "wecom_contact_deleted"),
        ("del_follow_user", "wecom_staff_deleted"),
        ("transfer_fail", "wecom_transfer_failed"),
        ("brand_new", "wecom_change_external_contact_brand_new"),
    ],
)
def test_each_change_has_its_name(change: str, expected: str) -> None:
    assert event_of(ADDED.replace("add_external_contact", change).encode()).event == expected


def test_the_url_check_answers_what_is_sealed_in_echostr() -> None:
    query, body = seal("echo 123", CORP)
    sealed = body.decode().split("<Encrypt><![CDATA[")[1].split("]]>")[0]
    assert wecom.verify_url(CORP, COMPANY, {**query, "echostr": sealed}) == b"echo 123"
    for wrong in ({}, {**query, "echostr": sealed[:-4] + "AAAA"}, {**query, "nonce": "1"}):
        assert isinstance(wecom.verify_url(CORP, COMPANY, wrong), Refusal)


def test_what_wecom_did_not_seal_for_this_company_is_no_event() -> None:
    query, body = seal(ADDED, CORP)
    for wrong in (({**query, "nonce": "0"}, body), ({}, body), (query, b""), (query, b"<xml/>")):
        assert isinstance(wecom.read(CORP, COMPANY, *wrong, ARRIVAL), Refusal)
    other = wecom.read(CORP, COMPANY, *seal(ADDED, "wwother"), ARRIVAL)
    assert not isinstance(other, Refusal)
    assert other.reason == "undecryptable"


def account(*entries: dict[str, Any]) -> WeChatAccount:
    return WeChatAccount(
        name="a",
        token=SecretStr(TOKEN),
        aes_keys=[SecretStr(KEY), SecretStr(OLD)],
        replies=[Reply(**entry) for entry in entries],
    )


REPLIES = account(
    {"event": "subscribe", "text": "欢迎"},
    {"keyword": "优惠", "match": "contains", "text": "券 ]]> <b>"},
    {"keyword": "HELP", "text": "help!"},
)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"MsgType": "text", "Content": "有优惠吗"}, "券 ]]> <b>"),
        ({"MsgType": "text", "Content": " help "}, "help!"),
        ({"MsgType": "text", "Content": "help me"}, None),
        ({"MsgType": "event", "Event": "subscribe"}, "欢迎"),
        ({"MsgType": "event", "Event": "unsubscribe"}, None),
        ({"MsgType": "event", "Event": "CLICK", "Content": "help"}, None),
        ({}, None),
    ],
)
def test_the_first_entry_that_fits_is_the_reply(fields: dict[str, str], said: str | None) -> None:
    replier = replies.from_sources(Sources(wechat={APPID: REPLIES}))

    async def ask() -> str | None:
        return await replier(APPID, fields)

    assert asyncio.run(ask()) == said


@pytest.mark.parametrize("key", [KEY, OLD])
def test_a_sealed_message_gets_a_reply_under_the_seal_that_it_came_with(key: str) -> None:
    xml = "<xml><ToUserName>gh</ToUserName><FromUserName>oA</FromUserName></xml>"
    query, body = seal(xml, APPID, key)
    pushed = official_account.read(APPID, REPLIES, {**query, "encrypt_type": "aes"}, body, ARRIVAL)
    assert isinstance(pushed, Pushed)
    text, media = replies.write(APPID, REPLIES, pushed, "券 ]]> <b>", now_s=int(TIME))
    assert media == "text/xml"
    outer = {child.tag: child.text or "" for child in ET.fromstring(text)}  # noqa: S314 - our own text
    plain = WeChatCrypto(TOKEN, key, APPID).decrypt_message(
        text, outer["MsgSignature"], outer["TimeStamp"], outer["Nonce"]
    )
    inner = {child.tag: child.text for child in ET.fromstring(plain)}  # noqa: S314 - as above
    assert inner["Content"] == "券 ]]> <b>"
    assert (inner["ToUserName"], inner["FromUserName"]) == ("oA", "gh")


def test_a_json_message_gets_a_json_reply() -> None:
    message = Pushed(
        accept(b"{}", ARRIVAL.envelope("wechat", "official_account", APPID)),
        {"FromUserName": "oA", "ToUserName": "gh"},
        is_json=True,
    )
    text, media = replies.write(APPID, REPLIES, message, "hi", now_s=5)
    assert media == "application/json"
    assert json.loads(text)["CreateTime"] == 5
    assert json.loads(text)["ToUserName"] == "oA"


def test_a_reply_answers_either_a_keyword_or_an_event() -> None:
    for wrong in ({"text": "t"}, {"text": "t", "keyword": "k", "event": "e"}):
        with pytest.raises(ValidationError, match="either keyword or event"):
            Reply.model_validate(wrong)
