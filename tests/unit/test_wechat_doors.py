import base64
import hashlib

import pytest
from pydantic import SecretStr
from wechatpy.crypto import WeChatCrypto

from schemas.errors import ConfigInvalid
from schemas.raw import RawRecord, from_headers
from schemas.rejects import Reject, decode_rejected
from schemas.sources import Sources, WeChatAccount
from streams.core.intake.parse_wechat import parse_wechat
from streams.core.intake.parsed_item import ParsedItem
from streams.sources.records import Arrival, Record, Refusal
from streams.sources.wechat.crypto import MAX_BODY_BYTES, check, decrypt, signature
from streams.sources.wechat.official_account import read, verify_url

APPID = "wx0123456789abcdef"
TOKEN = "AAAAA"
OLD = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
NEW = "GFEDCBA9876543210zyxwvutsrqponmlkjihgfedcbA"
TIME, NONCE = "1714037059", "486452656"
ARRIVAL = Arrival(received_at_ms=1_700_000_000_000, request_id="r1")
XML = (
    "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[oABC]]></FromUserName>"
    "<MsgType>text</MsgType><Content><![CDATA[你好 <!DOCTYPE html>]]></Content></xml>"
)
PLAIN = {"timestamp": TIME, "nonce": NONCE, "signature": "899cf89e464efb63f54ddac96b0a0a235f53aa78"}


def account(*keys: str, aes_only: bool = False) -> WeChatAccount:
    return WeChatAccount(
        name="a",
        token=SecretStr(TOKEN),
        aes_keys=[SecretStr(key) for key in keys],
        aes_only=aes_only,
    )


def sealed(xml: str = XML, key: str = NEW, appid: str = APPID) -> tuple[dict[str, str], bytes]:
    """Seal a message as WeChat does, with another implementation than ours."""
    body = WeChatCrypto(TOKEN, key, appid).encrypt_message(xml, NONCE, TIME)
    text: str = body if isinstance(body, str) else body.decode()
    encrypted = text.split("<Encrypt><![CDATA[")[1].split("]]>", maxsplit=1)[0]
    query = {**PLAIN, "encrypt_type": "aes", "msg_signature": sign(encrypted)}
    return query, f"<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()


def sign(*parts: str) -> str:
    return hashlib.sha1("".join(sorted((TOKEN, TIME, NONCE, *parts))).encode()).hexdigest()  # noqa: S324 - WeChat's choice


def take(query: dict[str, str], body: bytes, who: WeChatAccount | None = None) -> Record:
    pushed = read(APPID, who or account(NEW, OLD), query, body, ARRIVAL)
    assert not isinstance(pushed, Refusal), pushed
    return pushed.record


def refused(query: dict[str, str], body: bytes, who: WeChatAccount | None = None) -> int:
    answer = read(APPID, who or account(NEW, OLD), query, body, ARRIVAL)
    assert isinstance(answer, Refusal)
    return answer.status


def test_the_signature_is_that_of_the_official_vector() -> None:
    assert signature((TOKEN, TIME, NONCE)) == PLAIN["signature"]


def test_the_url_check_echoes_only_to_wechat() -> None:
    assert verify_url(account(), {**PLAIN, "echostr": "echo 1"}) == "echo 1"
    for wrong in ({}, {**PLAIN, "nonce": "1"}, {**PLAIN, "signature": "ü"}, {"signature": ""}):
        assert isinstance(verify_url(account(), wrong), Refusal)


def test_a_plain_message_is_stored_as_it_came() -> None:
    record = take(PLAIN, XML.encode())
    assert (record.topic, record.value) == ("events.raw", XML.encode())
    assert record.key == f"openid:{APPID}:oABC".encode()
    envelope = from_headers(record.headers)
    assert envelope is not None
    assert (envelope.door, envelope.source, envelope.account) == (
        "wechat",
        "official_account",
        APPID,
    )


@pytest.mark.parametrize("key", [NEW, OLD])
def test_a_sealed_message_is_opened_with_each_key_of_a_rotation(key: str) -> None:
    query, body = sealed(key=key)
    record = take(query, body)
    assert (record.topic, record.value) == ("events.raw", XML.encode())
    assert record.key == f"openid:{APPID}:oABC".encode()


def test_json_is_taken_like_xml() -> None:
    record = take(PLAIN, b' {"FromUserName":"oJ","CreateTime":1}')
    assert (record.topic, record.key) == ("events.raw", f"openid:{APPID}:oJ".encode())
    query, body = sealed('{"FromUserName":"oJ"}')
    encrypted = body.decode().split("CDATA[")[1].split("]]>")[0]
    assert take(query, f'{{"Encrypt":"{encrypted}"}}'.encode()).value == b'{"FromUserName":"oJ"}'


@pytest.mark.parametrize("change", ["signature", "timestamp", "nonce"])
def test_a_wrong_signature_stores_nothing(change: str) -> None:
    assert refused({**PLAIN, change: "0"}, XML.encode()) == 403
    query, body = sealed()
    changed = "msg_signature" if change == "signature" else change
    assert refused({**query, changed: "0"}, body) == 403
    assert refused({**query, "signature": "0", "msg_signature": "0"}, b"noise") == 403
    assert refused({}, b"") == 403


def test_an_account_that_insists_on_aes_takes_no_plain_message() -> None:
    strict = account(NEW, aes_only=True)
    assert refused(PLAIN, XML.encode(), strict) == 403
    query, body = sealed()
    assert take(query, body, strict).topic == "events.raw"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "bad_xml"),
        (b"not xml", "bad_xml"),
        (b"<xml>", "bad_xml"),
        (b"<xml><A>\x00</A></xml>", "bad_xml"),
        (b"<xml><A>\xff</A></xml>", "bad_xml"),
        (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e "e">]><x>&e;</x>', "bad_xml"),
        (b"{broken", "not_json"),
        (b"<xml>" + b"a" * MAX_BODY_BYTES, "body_too_large"),
    ],
)
def test_a_signed_message_that_cannot_be_read_is_kept(body: bytes, reason: str) -> None:
    record = take(PLAIN, body)
    assert (record.topic, record.reason) == ("events.rejected", reason)
    assert decode_rejected(record.value).body == body
    assert take({**PLAIN, "encrypt_type": "aes"}, body).reason == reason


def test_a_sealed_message_for_another_key_or_appid_is_kept() -> None:
    other = "x" * 42 + "A"
    for query, body in (sealed(key=other), sealed(appid="wxother")):
        record = take(query, body)
        assert record.reason == "undecryptable"
        assert decode_rejected(record.value).body == body


@pytest.mark.parametrize(
    ("encrypted", "reason"),
    [("", "undecryptable"), ("%%%", "bad_base64"), ("AAAA", "undecryptable"), ("中", "bad_base64")],
)
def test_a_broken_envelope_is_a_value(encrypted: str, reason: str) -> None:
    found = decrypt([SecretStr(NEW)], APPID, encrypted)
    assert isinstance(found, Reject)
    assert found.reason == reason


def test_random_blocks_never_pass_for_a_message() -> None:
    for number in range(500):
        noise = hashlib.sha512(str(number).encode()).digest()
        assert isinstance(
            decrypt([SecretStr(NEW), SecretStr(OLD)], APPID, base64.b64encode(noise).decode()),
            Reject,
        )


def test_deep_xml_is_read_flat() -> None:
    deep = b"<a>" * 9000 + b"</a>" * 9000
    assert take(PLAIN, b"<xml>" + deep + b"</xml>").key == f"openid:{APPID}:".encode()


def test_a_wrong_aes_key_is_named_at_the_start() -> None:
    with pytest.raises(ConfigInvalid, match=r"wechat\.wx1\.aes_keys\.1"):
        check(Sources(wechat={"wx1": account(NEW, "short")}))
    check(Sources(wechat={"wx1": account(NEW, OLD)}))


def test_a_mini_program_pushes_like_an_account_under_its_own_source() -> None:
    mini = account(NEW).model_copy(update={"source": "mini_program"})
    query, body = sealed()
    record = take(query, body, mini)
    envelope = from_headers(record.headers)
    assert envelope is not None
    assert envelope.source == "mini_program"
    entered = (
        "<xml><FromUserName>oM</FromUserName><CreateTime>1</CreateTime><MsgType>event</MsgType>"
        "<Event>user_enter_tempsession</Event></xml>"
    )
    parsed = parse_wechat(RawRecord(envelope, entered.encode()))
    assert isinstance(parsed, ParsedItem)
    assert parsed.event == "mini_program_user_enter_tempsession"


def test_a_mini_program_has_no_passive_replies() -> None:
    replies = [{"event": "subscribe", "text": "hello"}]
    with pytest.raises(ValueError, match="replies: WeChat shows none in a mini-program"):
        WeChatAccount.model_validate(
            {"name": "m", "source": "mini_program", "token": "t", "replies": replies}
        )
