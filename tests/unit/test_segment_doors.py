import base64
import gzip
import json

import pytest

from schemas.raw import from_headers
from schemas.sources import Sources, WriteKey
from streams.sources.bodies import MAX_ITEMS
from streams.sources.keys import Keys
from streams.sources.records import Arrival, Record, Refusal
from streams.sources.segment.read import (
    Opened,
    Sender,
    call_of,
    epoch_ms,
    open_body,
    plain_body,
    read_batch,
    read_call,
    unbase64,
)

KEYS = Keys(Sources(write_keys={"k": WriteKey(source="app", name="shop app")}))
ARRIVAL = Arrival(received_at_ms=1_700_000_000_000, request_id="r1")
BASIC = "Basic " + base64.b64encode(b"k:").decode()


def opened(body: bytes, sender: Sender) -> Opened | Refusal:
    return open_body(body, sender, KEYS)


def batch(body: bytes, authorization: str = "") -> list[Record]:
    found = opened(body, Sender(authorization))
    assert not isinstance(found, Refusal), found
    records = read_batch(found, ARRIVAL)
    assert not isinstance(records, Refusal), records
    return records


def call(name: str, body: bytes, sender: Sender | None = None) -> Record:
    found = opened(body, sender or Sender(BASIC))
    assert not isinstance(found, Refusal), found
    [record] = read_call(name, found, ARRIVAL)
    return record


def refused(body: bytes, authorization: str = "") -> tuple[int, str]:
    found = opened(body, Sender(authorization))
    answer = found if isinstance(found, Refusal) else read_batch(found, ARRIVAL)
    assert isinstance(answer, Refusal)
    return answer.status, answer.code


def test_each_item_carries_its_batch_s_sending_time_and_its_number() -> None:
    records = batch(b'{"writeKey":"k","sentAt":"2026-01-02T03:04:05.678Z","batch":[{},{}]}')
    for number, record in enumerate(records):
        envelope = from_headers(record.headers)
        assert envelope is not None
        assert (envelope.door, envelope.source, envelope.account) == ("segment", "app", "shop app")
        assert (envelope.item, envelope.request_id) == (number, "r1")
        assert envelope.sent_at_ms == 1_767_323_045_678
        assert envelope.received_at_ms == 1_700_000_000_000


@pytest.mark.parametrize(
    "authorization", [BASIC, BASIC.lower().replace(BASIC[6:].lower(), BASIC[6:])]
)
def test_basic_authorization_is_as_good_as_a_key_in_the_body(authorization: str) -> None:
    assert len(batch(b'{"batch":[{}]}', authorization)) == 1


def test_an_empty_batch_is_fine() -> None:
    assert batch(b'{"writeKey":"k","batch":[]}') == []


@pytest.mark.parametrize("authorization", ["", "Basic", "Basic ***", "Basic /////w==", "Bearer k"])
def test_an_unknown_key_is_401(authorization: str) -> None:
    assert refused(b'{"writeKey":"other","batch":[{}]}', authorization) == (401, "unknown_key")
    assert refused(b'{"writeKey":["k"],"batch":[{}]}', authorization) == (401, "unknown_key")


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"null", b'{"batch":[1]', b"\xff\xfe{}"])
def test_what_is_no_json_object_is_400(body: bytes) -> None:
    assert refused(body, BASIC) == (400, "not_json")


@pytest.mark.parametrize("member", [b'"x":[]', b'"batch":{}', b'"batch":null', b'"batch":[}]'])
def test_a_batch_that_cannot_be_cut_is_400(member: bytes) -> None:
    assert refused(b"{" + member + b"}", BASIC)[0] == 400


def test_more_items_than_a_request_may_have_are_400() -> None:
    body = b'{"batch":[' + b"1," * MAX_ITEMS + b"1]}"
    assert refused(body, BASIC) == (400, "too_many_items")


def test_a_call_tells_its_type_by_its_path_unless_the_body_does() -> None:
    assert call("track", b' { "event":"a"}').value == b' {"type":"track", "event":"a"}'
    assert json.loads(call("page", b"{}").value) == {"type": "page"}
    assert call("track", b'{"type":"identify"}').value == b'{"type":"identify"}'


def test_rudderstack_s_headers_fill_what_the_body_leaves_out() -> None:
    sender = Sender(BASIC, anonymous_id="a1", sent_at="2026-01-02T03:04:05.678Z")
    record = call("track", b'{"event":"e"}', sender)
    assert json.loads(record.value) == {"type": "track", "anonymousId": "a1", "event": "e"}
    assert record.key == b"anonymous_id:a1"
    envelope = from_headers(record.headers)
    assert envelope is not None
    assert envelope.sent_at_ms == 1_767_323_045_678
    own = call("track", b'{"type":"track","userId":"u"}', sender)
    assert own.value == b'{"type":"track","userId":"u"}'


def test_a_beacon_s_key_stands_in_its_query() -> None:
    assert isinstance(opened(b"{}", Sender(write_key="k")), Opened)
    assert isinstance(opened(b"{}", Sender(write_key="other")), Refusal)


def test_base64_of_a_header_is_read_or_left_out() -> None:
    assert unbase64(base64.b64encode("游客".encode()).decode()) == "游客"
    assert [unbase64(bad) for bad in ("", "***", "/////w==")] == [""] * 3


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/batch", "batch"),
        ("/b", "batch"),
        ("/v1/b", "batch"),
        ("/beacon/v1/batch", "batch"),
        ("/v1/track", "track"),
        ("/t", "track"),
        ("/v1/i", "identify"),
        ("/p", "page"),
        ("/g", "group"),
        ("/a", "alias"),
        ("/s", "screen"),
    ],
)
def test_each_path_stands_for_its_call(path: str, expected: str) -> None:
    assert call_of(path) == expected


def test_the_magic_decides_about_gzip_and_not_the_header() -> None:
    body = b'{"batch":[]}'
    for sent in (body, gzip.compress(body)):
        for header in ("", "gzip", "identity"):
            assert plain_body(sent, header, cap_bytes=100) == body


@pytest.mark.parametrize(
    ("sent", "header", "status"),
    [
        (gzip.compress(b"a" * 101), "gzip", 413),
        (b"\x1f\x8bno gzip", "gzip", 400),
        (gzip.compress(b"a")[:-2], "gzip", 400),
        (b"{}", "br", 400),
    ],
)
def test_a_body_that_cannot_be_inflated_is_refused(sent: bytes, header: str, status: int) -> None:
    answer = plain_body(sent, header, cap_bytes=100)
    assert isinstance(answer, Refusal)
    assert answer.status == status


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T08:00:01+08:00", 1000),
        ("1970-01-01T00:00:01", 1000),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000),
        ("yesterday", None),
        ("", None),
        (None, None),
        ("99999999999999999999", None),
    ],
)
def test_a_sending_time_is_read_or_left_out(moment: str | None, expected: int | None) -> None:
    assert epoch_ms(moment) == expected
