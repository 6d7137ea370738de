import base64
import gzip
import json
from urllib.parse import quote

import pytest

from schemas.raw import from_headers
from schemas.rejects import decode_rejected
from schemas.sources import Sources, WriteKey
from streams.sources.bodies import MAX_ITEMS
from streams.sources.keys import Keys
from streams.sources.records import Arrival, Record
from streams.sources.sensors.read import java_hash, read

SOURCES = Sources(
    write_keys={
        "mini": WriteKey(source="mini_program", name="mini shop"),
        "droid": WriteKey(source="app", name="droid"),
    }
)
ARRIVAL = Arrival(received_at_ms=1_700_000_000_000, request_id="r1")
# Its base64 holds both a plus and a slash.
EVENTS = b'[{"distinct_id":"d1","event":"~~>>??"},{"distinct_id":"d2"}]'


def b64(plain: bytes) -> str:
    return base64.b64encode(plain).decode()


def crc(text: str) -> int:
    return java_hash(text.encode())


PACKED = b64(gzip.compress(EVENTS))


def take(body: str | bytes, query: str = "token=mini", cap_bytes: int = 10_000) -> list[Record]:
    raw = body.encode() if isinstance(body, str) else body
    return read(raw, query.encode(), ARRIVAL, Keys(SOURCES), cap_bytes=cap_bytes)[0]


def reason(records: list[Record]) -> str:
    assert [record.topic for record in records] == ["events.rejected"]
    return records[0].reason


@pytest.mark.parametrize(
    "body",
    [
        "data_list=" + quote(b64(EVENTS), safe=""),
        "data_list=" + b64(EVENTS),
        "data_list=" + b64(EVENTS).replace("+", " "),
        "data_list=" + b64(EVENTS).rstrip("="),
        "data_list=" + quote(b64(gzip.compress(EVENTS)), safe="") + "&gzip=1",
        f"crc={crc(PACKED)}&gzip=1&data_list=" + quote(PACKED, safe=""),
        f"data={b64(EVENTS)}&ext=crc%3D{crc(b64(EVENTS))}",
        "data_list=" + b64(EVENTS) + "\r\n",
        EVENTS,
    ],
)
def test_every_form_that_an_sdk_sends_gives_the_exact_items(body: str | bytes) -> None:
    records = take(body)
    assert [record.value for record in records] == [
        b'{"distinct_id":"d1","event":"~~>>??"}',
        b'{"distinct_id":"d2"}',
    ]
    assert [record.key for record in records] == [b"anonymous_id:d1", b"anonymous_id:d2"]
    envelope = from_headers(records[1].headers)
    assert envelope is not None
    assert (envelope.door, envelope.source, envelope.account, envelope.item) == (
        "sensors",
        "mini_program",
        "mini shop",
        1,
    )


def test_a_get_carries_its_event_in_the_query() -> None:
    [record] = take("", "project=droid&data=" + quote(b64(b'{"distinct_id":"d"}')))
    assert (record.value, record.topic) == (b'{"distinct_id":"d"}', "events.raw")


@pytest.mark.parametrize("query", ["token=no&project=mini", "project=mini", "token=mini&project=x"])
def test_token_or_project_names_the_write_key(query: str) -> None:
    assert take("data=" + b64(b"{}"), query)[0].topic == "events.raw"


@pytest.mark.parametrize("field", ["token", "project"])
def test_an_item_may_name_its_own_write_key(field: str) -> None:
    body = "data_list=" + b64(json.dumps([{field: "mini"}]).encode())
    assert take(body, "")[0].topic == "events.raw"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("data_list=***", "bad_base64"),
        ("data_list=%E4%B8%AD", "bad_base64"),
        ("data=" + b64(b"\x1f\x8bxx"), "bad_gzip"),
        ("data=" + b64(b"hello"), "not_json"),
        ("data=" + b64(b"1"), "not_json"),
        ("data=" + b64(b"\xff\xfe"), "not_json"),
        ("{broken", "not_json"),
        ("data=" + quote(b64(gzip.compress(b"[" + b"1," * 10_000 + b"1]"))), "body_too_large"),
        ("gzip=9&data_list=abc", "encrypted_unsupported"),
        ("gzip=13&data_list=abc", "encrypted_unsupported"),
        ("", "no_data"),
        ("\0\x80\xff", "no_data"),
        ("data=", "no_data"),
    ],
)
def test_what_cannot_be_read_is_kept_whole_with_its_reason(body: str, expected: str) -> None:
    raw = body.encode("utf-8", "surrogateescape")
    records = take(raw)
    assert reason(records) == expected
    entry = decode_rejected(records[0].value)
    assert entry.stage == "collect"
    assert entry.body == (raw or b"token=mini")
    assert entry.envelope is not None
    assert entry.envelope.account == "mini shop"


@pytest.mark.parametrize("query", ["", "token=nobody", "token=%FF", "project="])
def test_an_unknown_key_is_kept_for_later(query: str) -> None:
    body = "data=" + b64(b"{}")
    records = take(body, query)
    assert reason(records) == "unknown_key"
    entry = decode_rejected(records[0].value)
    assert (entry.body, entry.envelope and entry.envelope.account) == (body.encode(), "")


def test_too_many_items_are_kept_as_one() -> None:
    body = "data_list=" + b64(b"[" + b"1," * MAX_ITEMS + b"1]")
    assert reason(take(body, cap_bytes=1_000_000)) == "too_many_items"


def test_a_broken_item_goes_to_ingest_beside_the_good_ones() -> None:
    records = take("data_list=" + b64(b'[{"distinct_id":"\\ud800"},{"distinct_id":"d"}]'))
    assert [record.topic for record in records] == ["events.raw"] * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    # As Java's String.hashCode gives them.
    [("", 0), ("a", 97), ("hello", 99162322), ("polygenelubricants", -2147483648)],
)
def test_the_crc_is_java_s_hash(text: str, expected: int) -> None:
    assert crc(text) == expected


@pytest.mark.parametrize("length", [4095, 4096, 4097, 10_000])
def test_the_crc_of_a_long_text_is_that_of_the_plain_loop(length: int) -> None:
    text, plain = bytes(i * 7 % 64 + 48 for i in range(length)), 0
    for byte in text:
        plain = (31 * plain + byte) % 2**32
    assert java_hash(text) % 2**32 == plain


@pytest.mark.parametrize("wrong", ["crc=12&", "crc=x&", "ext=crc%3D12&"])
def test_a_payload_that_its_crc_does_not_fit_is_kept_as_a_reject(wrong: str) -> None:
    assert reason(take(wrong + "data_list=" + b64(EVENTS))) == "bad_crc"
