import asyncio
import base64
import contextlib
import json
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest
from aiohttp import ClientSession, web
from wechatpy.crypto import WeChatCrypto
from wechatpy.utils import WeChatSigner

from schemas.settings import Settings
from schemas.signing import sign
from schemas.sources import load_sources
from streams.commands.broker import ensure_topics
from streams.sources.collect import build_app
from streams.sources.wechat.replies import Replier
from tests.collect_harness import (
    APPID,
    CORPID,
    NEW_AES,
    OLD_AES,
    SECRET,
    SOURCES,
    TOKEN,
    Dropped,
    Edge,
    Stored,
    Tap,
    collector,
    ready,
    until,
)

pytestmark = pytest.mark.integration
PAGE = {"Origin": "https://shop.example", "Content-Type": "text/plain"}
TIME, NONCE = "1714037059", "486452656"


@pytest.fixture(scope="module", autouse=True)
def edge(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    ensure_topics(Settings(kafka=kafka))
    folder = tmp_path_factory.mktemp("edge")
    with collector(kafka, folder, SIYU_COLLECT_HEAD_TIMEOUT_S="1") as running:
        until(lambda: ready(running), "the edge is ready")
        yield running


@pytest.fixture
def tap(kafka: str) -> Iterator[Tap]:
    made = Tap(kafka)
    yield made
    made.close()


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


def item_of(record: Stored) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(record.value)
    return item


def signed(*sealed: str) -> str:
    signer = WeChatSigner()
    signer.add_data(TOKEN, TIME, NONCE, *sealed)
    name = "msg_signature" if sealed else "signature"
    return f"{name}={signer.signature}&timestamp={TIME}&nonce={NONCE}"


def seal(xml: str, receiver: str, key: str = NEW_AES) -> tuple[str, bytes]:
    body = str(WeChatCrypto(TOKEN, key, receiver).encrypt_message(xml, NONCE, TIME))
    return signed(body.split("<Encrypt><![CDATA[")[1].partition("]]>")[0]), body.encode()


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize(
    ("letter", "type_"),
    [
        ("t", "track"),
        ("i", "identify"),
        ("p", "page"),
        ("g", "group"),
        ("a", "alias"),
        ("s", "screen"),
    ],
)
def test_a_browser_s_call_is_stored_as_its_letter_says(
    edge: Edge, tap: Tap, prefix: str, letter: str, type_: str
) -> None:
    user = uuid.uuid4().hex
    body = json.dumps({"writeKey": "k-web", "anonymousId": user, "event": "e"}).encode()
    answer = edge.post(f"{prefix}/{letter}", body, PAGE)
    assert (answer.status, json.loads(answer.body)) == (200, {"success": True})
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE["Origin"]
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    [record], rejects = tap.look()
    assert (item_of(record)["type"], rejects) == (type_, [])
    assert record.key.decode() == f"anonymous_id:{user}"
    assert (record.envelope.source, record.envelope.account) == ("web", "web")


@pytest.mark.parametrize("path", ["/b", "/v1/b", "/v1/batch", "/beacon/v1/batch?writeKey=k-web"])
def test_a_browser_s_batch_is_stored_item_by_item(edge: Edge, tap: Tap, path: str) -> None:
    items = [{"type": "track", "event": "e", "userId": f"u{number}"} for number in range(3)]
    body = {"batch": items, "sentAt": "2026-01-02T03:04:05Z"}
    key = {} if "writeKey" in path else {"writeKey": "k-web"}
    assert edge.post(path, json.dumps({**body, **key}).encode(), PAGE).status == 200
    raw, _ = tap.look()
    assert sorted(item_of(record)["userId"] for record in raw) == ["u0", "u1", "u2"]
    assert {record.envelope.sent_at_ms for record in raw} == {1_767_323_045_000}


@pytest.mark.parametrize("path", ["/t", "/v1/batch", "/sa", "/sourceConfig/", "/beacon/v1/batch"])
def test_a_preflight_lets_any_page_send(edge: Edge, path: str) -> None:
    asks = {"Origin": "null", "Access-Control-Request-Headers": "anonymousid,authorization"}
    answer = edge.ask("OPTIONS", path, headers=asks)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "null"
    assert answer.headers["Access-Control-Allow-Headers"] == "anonymousid,authorization"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


def test_the_browser_sdks_find_their_settings(edge: Edge) -> None:
    answer = edge.ask("GET", "/v1/projects/k-web/settings", headers=PAGE)
    assert json.loads(answer.body)["integrations"]["Segment.io"]["apiKey"] == "k-web"
    assert edge.ask("GET", "/v1/projects/nobody/settings").status == 404
    source = json.loads(edge.ask("GET", "/sourceConfig/?p=web", headers=basic("k-web")).body)
    assert (source["source"]["id"], source["source"]["destinations"]) == ("web", [])
    assert source["source"]["enabled"] is True
    assert edge.ask("GET", "/sourceConfig/", headers=basic("nobody")).status == 401


def test_rudderstack_s_js_headers_are_part_of_the_call(edge: Edge, tap: Tap) -> None:
    user = uuid.uuid4().hex
    headers = {
        **basic("k-web"),
        "AnonymousId": base64.b64encode(user.encode()).decode(),
        "SentAt": "2026-01-02T03:04:05Z",
    }
    assert edge.post("/v1/track", b'{"event":"e"}', headers).status == 200
    [record], _ = tap.look()
    assert item_of(record) == {"type": "track", "anonymousId": user, "event": "e"}
    assert record.envelope.sent_at_ms == 1_767_323_045_000


def test_a_key_with_a_secret_takes_only_what_is_signed(edge: Edge, tap: Tap) -> None:
    body, now_s = b'{"userId":"u","event":"e"}', int(time.time())
    good = {"Siyu-Timestamp": str(now_s), "Siyu-Signature": sign(SECRET.encode(), now_s, body)}
    for wrong in ({}, {**good, "Siyu-Signature": "v1=00"}, {**good, "Siyu-Timestamp": "1"}):
        answer = edge.post("/v1/track", body, {**basic("k-server"), **wrong})
        assert (answer.status, json.loads(answer.body)["code"]) == (401, "bad_signature")
    assert edge.post("/v1/track", body, {**basic("k-server"), **good}).status == 200
    # There is no 401 for a Sensors SDK: it would forget what it sent.
    form = b"data=" + base64.b64encode(b'{"distinct_id":"u"}')
    assert edge.post("/sa?token=k-server", form).status == 200
    [record], [entry] = tap.look()
    assert (record.envelope.account, entry.reason, entry.body) == ("orders", "bad_signature", form)


def test_over_its_rate_a_key_is_slowed_down_and_its_neighbours_are_not(
    edge: Edge, tap: Tap
) -> None:
    body = b'{"writeKey":"k-slow","batch":[{"userId":"u"},{"userId":"u"}]}'
    assert edge.post("/v1/batch", body).status == 200
    answer = edge.post("/v1/batch", body)
    assert (answer.status, json.loads(answer.body)["code"]) == (429, "rate_limited")
    assert int(answer.headers["Retry-After"]) > 100
    form = b"data=" + base64.b64encode(b'{"distinct_id":"u"}')
    # Of 4xx a Sensors SDK makes a loss: it hears 503, and a mini-program hears nothing.
    assert edge.post("/sa?token=k-slow", form).status == 503
    for _ in range(2):
        assert edge.post("/sa?token=k-slow-mini", form).status == 200
    with pytest.raises(Dropped):
        edge.post("/sa?token=k-slow-mini", form)
    assert edge.post("/v1/track", b'{"writeKey":"k-web","userId":"n"}').status == 200
    assert len(tap.look()[0]) == 5


def test_a_client_that_sends_no_whole_head_is_closed_and_an_idle_one_is_kept(edge: Edge) -> None:
    with (
        socket.create_connection(("127.0.0.1", edge.port), 30) as slow,
        socket.create_connection(("127.0.0.1", edge.port), 30) as idle,
    ):
        slow.sendall(b"POST /v1/track HTTP/1.1\r\nHost: x\r\nX-")
        ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        idle.sendall(ask)
        assert b"200 OK" in idle.recv(1000)
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1000) == b""
        idle.sendall(ask)
        assert b"200 OK" in idle.recv(1000)


def test_over_the_bound_of_requests_the_edge_answers_503_and_goes_on(
    kafka: str, tmp_path: Path
) -> None:
    with collector(kafka, tmp_path, SIYU_COLLECT_MAX_REQUESTS="1") as narrow:
        until(lambda: ready(narrow), "the edge is ready")
        with socket.create_connection(("127.0.0.1", narrow.port), 30) as slow:
            slow.sendall(b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
            until(lambda: b'requests{door="segment"} 1.0' in metrics(narrow), "it is in flight")
            body = b'{"writeKey":"k-web","userId":"u"}'
            assert narrow.post("/v1/track", body).status == 503
        until(lambda: narrow.post("/v1/track", body).status == 200, "the edge goes on")


def metrics(edge: Edge) -> bytes:
    return edge.ask("GET", "/metrics").body


def test_each_door_counts_what_it_did(edge: Edge) -> None:
    edge.post("/v1/track", b'{"writeKey":"k-web","userId":"u"}')
    edge.post("/v1/track", b"x")
    edge.post("/sa?token=k-web", b"data=%")
    edge.ask("GET", "/wechat/nobody")
    text = metrics(edge).decode()
    for line in (
        'siyu_collect_items_total{door="segment",reason=""}',
        'siyu_collect_items_total{door="sensors",reason="bad_base64"}',
        'siyu_collect_refused_total{door="segment",reason="not_json"}',
        'siyu_collect_refused_total{door="wechat",reason="unknown_appid"}',
        'siyu_collect_body_bytes_total{door="segment"}',
        'siyu_collect_request_seconds_bucket{door="segment",le="0.1"}',
        'siyu_collect_in_flight_requests{door="segment"} 0.0',
        "siyu_collect_in_flight_bytes 0.0",
    ):
        assert line in text


@pytest.mark.parametrize("key", [None, NEW_AES, OLD_AES])
def test_a_passive_reply_comes_back_in_the_form_of_its_message(
    edge: Edge, tap: Tap, key: str | None
) -> None:
    xml = (
        "<xml><ToUserName>gh</ToUserName><FromUserName>oA</FromUserName>"
        f"<CreateTime>{TIME}</CreateTime><MsgType>text</MsgType><Content>有优惠吗</Content></xml>"
    )
    query, body = (signed(), xml.encode()) if key is None else seal(xml, APPID, key)
    query += "" if key is None else "&encrypt_type=aes"
    answer = edge.post(f"/wechat/{APPID}?{query}", body)
    assert answer.status == 200
    reply = answer.body.decode()
    if key is not None:
        outer = {child.tag: child.text or "" for child in ET.fromstring(reply)}  # noqa: S314 - ours
        reply = WeChatCrypto(TOKEN, key, APPID).decrypt_message(
            reply, outer["MsgSignature"], outer["TimeStamp"], outer["Nonce"]
        )
    said = {child.tag: child.text for child in ET.fromstring(reply)}  # noqa: S314 - as above
    assert (said["ToUserName"], said["Content"]) == ("oA", "券在这里")
    assert len(tap.look()[0]) == 1


def test_wecom_s_contacts_come_in_sealed_or_not_at_all(edge: Edge, tap: Tap) -> None:
    xml = "<xml><ExternalUserID>wm1</ExternalUserID><State>poster</State></xml>"
    query, body = seal(xml, CORPID)
    answer = edge.post(f"/wecom/{CORPID}?{query}", body)
    assert (answer.status, answer.body) == (200, b"success")
    [record], _ = tap.look()
    assert (record.value, record.key) == (xml.encode(), f"openid:{CORPID}:wm1".encode())
    assert (record.envelope.door, record.envelope.source) == ("wecom", "wecom")
    assert edge.post(f"/wecom/{CORPID}?{query}".replace(NONCE, "1"), body).status == 403
    assert edge.post(f"/wecom/wwnobody?{query}", body).status == 404
    echo, sealed = seal("echo 1", CORPID)
    echostr = sealed.decode().split("<Encrypt><![CDATA[")[1].partition("]]>")[0]
    answer = edge.ask("GET", f"/wecom/{CORPID}?{echo}&echostr={quote(echostr, safe='')}")
    assert (answer.status, answer.body) == (200, b"echo 1")
    assert tap.look() == ([], [])


async def _late(_appid: str, _fields: Mapping[str, str]) -> str | None:
    await asyncio.sleep(3600)
    return "too late"


async def _broken(_appid: str, _fields: Mapping[str, str]) -> str | None:
    raise KeyError("a fault of the replier")


async def _own(appid: str, fields: Mapping[str, str]) -> str | None:
    return f"{appid} {fields['Content']}"


@pytest.mark.parametrize(
    ("replier", "said"), [(_late, "success"), (_broken, "success"), (_own, f"{APPID} 你好")]
)
def test_a_replier_may_be_late_or_fail_and_the_message_is_stored_and_answered(
    kafka: str, tap: Tap, tmp_path: Path, replier: Replier, said: str
) -> None:
    (tmp_path / "sources.yaml").write_text(SOURCES, "utf-8")
    app = build_app(Settings(kafka=kafka), load_sources(tmp_path / "sources.yaml"), replier)
    xml = (
        f"<xml><FromUserName>oA</FromUserName><MsgId>{uuid.uuid4()}</MsgId>"
        "<Content>你好</Content></xml>"
    )

    async def push() -> str:
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ClientSession() as client:
            for _ in range(200):
                if (await client.get(f"{url}/readyz")).status == 200:
                    break
                await asyncio.sleep(0.05)
            answer = await client.post(f"{url}/wechat/{APPID}?{signed()}", data=xml.encode())
            text = await answer.text()
        await runner.cleanup()
        return text

    assert said in asyncio.run(push())
    assert [record.value.decode() for record in tap.look()[0]] == [xml]


def test_no_secret_stands_in_the_log(edge: Edge) -> None:
    """Last in this file: all that came before has been logged by now."""
    query, body = seal("<xml><FromUserName>oA</FromUserName></xml>", APPID)
    edge.post(f"/wechat/{APPID}?{query}&encrypt_type=aes&openid=oSECRET", body)
    edge.post("/v1/batch", b"\x1f\x8bno", basic("k-server"))
    edge.ask("GET", "/v1/projects/k-server/settings")
    with socket.create_connection(("127.0.0.1", edge.port), 30) as peer:
        peer.sendall(b"GET /sa?token=k-web HTTP/9.9\r\nAuthorization: k-server\r\n\r\n")
        peer.recv(1000)
    log = edge.log.read_text("utf-8")
    assert "collect listens" in log
    for secret in (SECRET, TOKEN, NEW_AES, OLD_AES, "k-server", "k-web", "oSECRET"):
        assert secret not in log
