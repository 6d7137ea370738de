"""Each front door gets what it must survive, and then a good event that must be stored."""

import base64
import gzip
import json
import socket
import uuid
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from wechatpy.utils import WeChatSigner

from schemas.settings import Settings
from streams.commands.broker import ensure_topics
from tests.collect_harness import APPID, TOKEN, Edge, Tap, collector, ready, until

pytestmark = pytest.mark.integration

DEEP = b"[" * 100_000 + b"]" * 100_000
TEN_MB = b"a" * 10_000_000
BOMB = gzip.compress(b"0" * 100_000_000)
HUGE = b"9" * 10_000
TIME, NONCE = "1714037059", "486452656"
# Items that a batch may hold: each must reach ingest as it is, beside its good neighbour.
POISON = [
    pytest.param(DEEP, id="deep nesting"),
    pytest.param(b'{"event":"a\x00b"}', id="raw NUL"),
    pytest.param(b'{"event":"a\\u0000b"}', id="escaped NUL"),
    pytest.param(b'{"event":"\\ud800"}', id="lone surrogate"),
    pytest.param(b'{"event":"\xff\xfe"}', id="not UTF-8"),
    pytest.param(b'{"event":"e","x":' + HUGE + b"}", id="huge number"),
    pytest.param(b'{"event":"e","x":1e999}', id="infinite number"),
    pytest.param(b'{"userId":' + HUGE + b"}", id="huge number as user"),
    pytest.param(b"17", id="not an object"),
    pytest.param(b'{"event":,}', id="not JSON"),
]


@pytest.fixture(scope="module")
def edge(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    ensure_topics(Settings(kafka=kafka))
    with collector(kafka, tmp_path_factory.mktemp("edge")) as running:
        until(lambda: ready(running), "the edge is ready")
        yield running


@pytest.fixture
def tap(edge: Edge, kafka: str) -> Iterator[Tap]:
    """Watch the topics; afterwards the next good event of each door must be stored."""
    made = Tap(kafka)
    yield made
    made.look()
    user = uuid.uuid4().hex
    good = json.dumps({"userId": user, "event": "good"}).encode()
    assert edge.post("/v1/batch", b'{"writeKey":"k-app","batch":[' + good + b"]}").status == 200
    assert edge.post("/sa?token=k-mini", form(good)).status == 200
    xml = f"<xml><FromUserName>{user}</FromUserName></xml>".encode()
    assert edge.post(f"/wechat/{APPID}?{signed()}", xml).status == 200
    raw, rejects = made.look()
    assert sorted(record.value for record in raw) == sorted([good, good, xml])
    assert rejects == []
    made.close()


def form(plain: bytes) -> bytes:
    return b"data_list=" + quote(base64.b64encode(plain), safe="").encode()


def signed(*sealed: str) -> str:
    signer = WeChatSigner()
    signer.add_data(TOKEN, TIME, NONCE, *sealed)
    name = "msg_signature" if sealed else "signature"
    return f"{name}={signer.signature}&timestamp={TIME}&nonce={NONCE}"


@pytest.mark.parametrize("poison", POISON)
def test_segment_stores_a_batch_item_by_item(edge: Edge, tap: Tap, poison: bytes) -> None:
    neighbour = b'{"userId":"n","event":"e"}'
    body = b'{"writeKey":"k-app","batch":[' + poison + b"," + neighbour + b"]}"
    answer = edge.post("/v1/batch", body)
    assert (answer.status, json.loads(answer.body)) == (200, {"success": True})
    raw, rejects = tap.look()
    assert sorted(record.value for record in raw) == sorted([poison, neighbour])
    assert rejects == []


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/batch", b"not JSON", (400, "not_json")),
        ("/v1/batch", b"", (400, "not_json")),
        ("/v1/batch", b"\x00\xff", (400, "not_json")),
        ("/v1/batch", DEEP, (400, "not_json")),
        ("/v1/batch", b"{" * 900_000, (400, "not_json")),
        ("/v1/batch", b'{"writeKey":"k-app"}', (400, "no_batch")),
        ("/v1/batch", b'{"writeKey":"k-app","batch":[{]}', (400, "not_json")),
        ("/v1/batch", b'{"writeKey":"nobody","batch":[{}]}', (401, "unknown_key")),
        ("/v1/track", b'{"userId":"u"}', (401, "unknown_key")),
        ("/v1/track", b"[]", (400, "not_json")),
        ("/v1/batch", TEN_MB, (413, "body_too_large")),
        ("/v1/batch", BOMB, (413, "body_too_large")),
        ("/v1/batch", b"\x1f\x8bno", (400, "bad_gzip")),
    ],
)
def test_segment_refuses_what_it_cannot_cut_and_says_why(
    edge: Edge, tap: Tap, path: str, body: bytes, expected: tuple[int, str]
) -> None:
    answer = edge.post(path, body, {"Content-Encoding": "gzip"})
    said = json.loads(answer.body)
    assert ((answer.status, said["code"]), said["success"]) == (expected, False)
    assert said["message"]
    assert tap.look() == ([], [])


def test_segment_refuses_an_encoding_that_it_does_not_know(edge: Edge, tap: Tap) -> None:
    answer = edge.post("/v1/batch", b"{}", {"Content-Encoding": "br"})
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "encoding_unsupported")
    assert tap.look() == ([], [])


def test_a_body_without_a_length_meets_the_same_bound(edge: Edge, tap: Tap) -> None:
    # Without a length http.client sends it in chunks.
    answer = edge.ask("POST", "/v1/batch", iter([b"a" * 100_000] * 12))
    assert (answer.status, json.loads(answer.body)["code"]) == (413, "body_too_large")
    assert tap.look() == ([], [])


def test_an_item_too_large_for_the_broker_is_rejected_with_its_bytes(edge: Edge, tap: Tap) -> None:
    large = b'{"userId":"big","x":"' + b"x" * 950_000 + b'"}'
    body = b'{"writeKey":"k-app","batch":[{"userId":"n"},' + large + b"]}"
    assert edge.post("/v1/batch", body).status == 200
    raw, [entry] = tap.look()
    assert [record.value for record in raw] == [b'{"userId":"n"}']
    assert (entry.stage, entry.reason, entry.body) == ("collect", "item_too_large", large)


@pytest.mark.parametrize("poison", POISON)
def test_sensors_stores_a_list_item_by_item(edge: Edge, tap: Tap, poison: bytes) -> None:
    neighbour = b'{"distinct_id":"n","event":"e"}'
    answer = edge.post("/sa?token=k-mini", form(b"[" + poison + b"," + neighbour + b"]"))
    assert answer.status == 200
    raw, rejects = tap.look()
    assert sorted(record.value for record in raw) == sorted([poison, neighbour])
    assert rejects == []


@pytest.mark.parametrize(
    ("query", "body", "reason"),
    [
        ("token=k-mini", form(b"not JSON"), "not_json"),
        ("token=k-mini", form(b"[" * 100_000), "not_json"),
        ("token=k-mini", b"data_list=%%%", "bad_base64"),
        ("token=k-mini", b"\x00\xff", "no_data"),
        ("token=k-mini", b"data=" + quote(base64.b64encode(BOMB)).encode(), "body_too_large"),
        ("token=k-mini", b"gzip=1&data_list=" + base64.b64encode(b"\x1f\x8bx"), "bad_gzip"),
        ("token=k-mini", b"gzip=9&data_list=abc", "encrypted_unsupported"),
        ("token=nobody", form(b"[{}]"), "unknown_key"),
        ("token=%ED%A0%80%00", form(b"[{}]"), "unknown_key"),
    ],
)
def test_sensors_answers_200_and_keeps_what_it_cannot_read(
    edge: Edge, tap: Tap, query: str, body: bytes, reason: str
) -> None:
    assert edge.post(f"/sa?{query}", body).status == 200
    raw, [entry] = tap.look()
    assert raw == []
    assert (entry.stage, entry.reason, entry.body) == ("collect", reason, body)


def test_sensors_keeps_the_start_of_a_body_over_the_bound_and_says_so(edge: Edge, tap: Tap) -> None:
    assert edge.post("/sa?token=k-mini", TEN_MB).status == 200
    raw, [entry] = tap.look()
    assert (raw, entry.reason) == ([], "body_too_large")
    assert entry.body == TEN_MB[:1_048_576]
    assert "only the first 1048576 bytes are kept" in entry.detail


def test_sensors_takes_a_long_url(edge: Edge, tap: Tap) -> None:
    item = b'{"distinct_id":"u","x":"' + b"x" * 60_000 + b'"}'
    assert edge.ask("GET", "/sa?token=k-mini&" + form(item).decode()).status == 200
    [record], _ = tap.look()
    assert record.value == item


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/wechat/{APPID}?signature=0&timestamp={TIME}&nonce={NONCE}", 403, "wrong_signature"),
        (f"/wechat/{APPID}", 403, "wrong_signature"),
        (f"/wechat/{APPID}?signature=%ED%A0%80%00", 403, "wrong_signature"),
        (f"/wechat/{APPID}?{signed()}0&encrypt_type=aes", 403, "wrong_signature"),
        (f"/wechat/wxsealed?{signed()}", 403, "wrong_signature"),
        (f"/wechat/wxnobody?{signed()}", 404, "unknown_appid"),
    ],
)
def test_wechat_stores_nothing_that_is_not_signed(
    edge: Edge, tap: Tap, path: str, status: int, code: str
) -> None:
    answer = edge.post(path, b"<xml><FromUserName>u</FromUserName></xml>")
    assert (answer.status, json.loads(answer.body)["code"]) == (status, code)
    assert edge.post(path, TEN_MB).status == status
    assert tap.look() == ([], [])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not XML", "bad_xml"),
        (b"", "bad_xml"),
        (b"<xml><A>\x00</A></xml>", "bad_xml"),
        (b"<xml><A>\xff\xfe</A></xml>", "bad_xml"),
        (b"<xml><A>&#xD800;</A></xml>", "bad_xml"),
        (b"<a>" * 20_000, "bad_xml"),
        (b'<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>', "bad_xml"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "bad_xml"),
        (b'{"a":', "not_json"),
        (b'{"a":' * 10_000, "not_json"),
    ],
)
def test_wechat_answers_success_and_keeps_what_it_cannot_read(
    edge: Edge, tap: Tap, body: bytes, reason: str
) -> None:
    answer = edge.post(f"/wechat/{APPID}?{signed()}", body)
    assert (answer.status, answer.body) == (200, b"success")
    raw, [entry] = tap.look()
    assert raw == []
    assert (entry.stage, entry.reason, entry.body) == ("collect", reason, body)


def test_wechat_keeps_the_start_of_a_body_over_the_bound(edge: Edge, tap: Tap) -> None:
    assert edge.post(f"/wechat/{APPID}?{signed()}", TEN_MB).status == 200
    raw, [entry] = tap.look()
    assert (raw, entry.reason) == ([], "body_too_large")
    assert TEN_MB.startswith(entry.body)
    assert len(entry.body) >= 64 * 1024


@pytest.mark.parametrize(("sealed", "reason"), [("AAAA", "undecryptable"), ("%%", "bad_base64")])
def test_wechat_keeps_a_signed_envelope_that_no_key_opens(
    edge: Edge, tap: Tap, sealed: str, reason: str
) -> None:
    body = f"<xml><Encrypt>{sealed}</Encrypt></xml>".encode()
    answer = edge.post(f"/wechat/{APPID}?{signed(sealed)}&encrypt_type=aes", body)
    assert (answer.status, answer.body) == (200, b"success")
    raw, [entry] = tap.look()
    assert (raw, entry.reason, entry.body) == ([], reason, body)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_answered_and_store_nothing(edge: Edge, tap: Tap, method: str) -> None:
    assert edge.ask(method, "/v1/batch", b"x").status == 405
    assert edge.ask(method, "/nowhere", b"x").status == 404
    assert tap.look() == ([], [])


def test_a_peer_that_speaks_no_http_is_answered_and_the_edge_goes_on(edge: Edge, tap: Tap) -> None:
    for noise in (b"\x16\x03\x01\x00\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 300_000):
        with socket.create_connection(("127.0.0.1", edge.port), 30) as peer:
            peer.sendall(noise)
            assert b"HTTP/1." in peer.recv(1000)
    assert tap.look() == ([], [])
