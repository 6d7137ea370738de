import gzip
import json

import pytest

from schemas.rejects import Reject
from streams.sources.bodies import cut_array, cut_object, inflate, text
from streams.sources.records import (
    MAX_ITEM_BYTES,
    MAX_REJECTED_BYTES,
    Arrival,
    accept,
    item_key,
    reject,
)

ARRIVAL = Arrival(received_at_ms=1_700_000_000_000, request_id="r")
DEEP = b"[" * 5000 + b"]" * 5000


def test_items_keep_their_exact_bytes() -> None:
    assert cut_array(b'[ {"a" : 1.0e2 , "b":"\\u4e2d"} , 1e999,[ ] ]') == [
        b'{"a" : 1.0e2 , "b":"\\u4e2d"}',
        b"1e999",
        b"[ ]",
    ]


@pytest.mark.parametrize(
    "poison", [DEEP, b'{"a":"\\ud800"}', b'{"a":"\x00"}', b'{"a":"\xff"}', b"{bare, words}", b"+1"]
)
def test_a_poisoned_item_does_not_take_its_neighbours_down(poison: bytes) -> None:
    good = b'{"s":"a \\" ] } , [","t":[{}]}'
    expected = [good, poison, good]
    # A comma outside of strings still separates: only brackets hold an item together.
    assert cut_array(b"[" + good + b" , " + poison + b"," + good + b"]") == expected


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[",
        b"[1,",
        b"[1]]",
        b"[1] 2",
        b"[}",
        b"[{]",
        b'["a]',
        b"[,]",
        b"[\x001,]",
        b"{}",
        b"1",
    ],
)
def test_what_is_no_array_is_not_cut(broken: bytes) -> None:
    assert cut_array(broken) is None


def test_over_a_mebibyte_a_poisoned_body_is_refused_and_a_healthy_one_is_cut() -> None:
    fill, poison = b'"' + b"x" * (1024 * 1024) + b'"', b'"\\ud800"'
    assert cut_array(b"[" + fill + b",1]") == [fill, b"1"]
    assert cut_array(b"[" + fill + b"," + poison + b"]") is None


def test_members_are_cut_beside_a_poisoned_one() -> None:
    body = b'{"writeKey":"k", "batch":[' + DEEP + b'], "a\\u0062" : "\\ud800"}'
    assert cut_object(body) == {
        "writeKey": b'"k"',
        "batch": b"[" + DEEP + b"]",
        "ab": b'"\\ud800"',
    }


@pytest.mark.parametrize("broken", [b"", b"[]", b"{", b'{"a"}', b"{a:1}", b'{"a":1}x', b"nul"])
def test_what_is_no_object_is_not_cut(broken: bytes) -> None:
    assert cut_object(broken) is None


def test_text_is_a_string_or_a_number() -> None:
    values = (b'"a\\u0000b"', b"42", b"-1.5", b"null", b"{}", b'"\\ud800"', b"", None)
    assert [text(value) for value in values] == ["a\0b", "42", "-1.5", *[None] * 5]


def test_a_gzip_of_exactly_the_cap_passes_and_one_more_byte_does_not() -> None:
    assert inflate(gzip.compress(b"a" * 1000), cap_bytes=1000) == b"a" * 1000
    over = inflate(gzip.compress(b"a" * 1001), cap_bytes=1000)
    assert isinstance(over, Reject)
    assert over.reason == "body_too_large"


def test_gzip_members_add_up_to_the_cap() -> None:
    two = gzip.compress(b"a" * 600) + gzip.compress(b"b" * 400)
    assert inflate(two, cap_bytes=1000) == b"a" * 600 + b"b" * 400
    assert isinstance(inflate(two, cap_bytes=999), Reject)


@pytest.mark.parametrize(
    "broken",
    [
        b"\x1f\x8bno",
        gzip.compress(b"abc")[:-9],
        gzip.compress(b"a") + b"x",
        gzip.compress(b"") * 99,
    ],
)
def test_broken_gzip_is_a_value(broken: bytes) -> None:
    found = inflate(broken, cap_bytes=1000)
    assert isinstance(found, Reject)
    assert found.reason == "bad_gzip"


def test_the_key_is_the_strongest_identifier() -> None:
    assert item_key(b'{"anonymousId":"a","userId":"u"}') == b"user_id:u"
    assert item_key(b'{"anonymousId":"a","userId":null}') == b"anonymous_id:a"
    assert item_key(b'{"distinct_id":"d","login_id":"l"}') == b"user_id:l"
    assert item_key(b'{"userId":42}') == item_key(b'{"userId":"42"}') == b"user_id:42"
    assert item_key('{"userId":"中"}'.encode()) == item_key(b'{"userId":"\\u4e2d"}')


@pytest.mark.parametrize(
    "item", [b"", b"1", b"{}", DEEP, b'{"userId":"\\ud800"}', b'{"userId":{}}', b"\xff"]
)
def test_an_item_without_identifier_has_a_key_that_a_retry_repeats(item: bytes) -> None:
    assert item_key(item) == item_key(bytes(item))
    assert len(item_key(item)) == 32


def test_a_long_key_is_cut_but_stays_distinct() -> None:
    one, other = (item_key(json.dumps({"userId": "u" * 5000 + end}).encode()) for end in "ab")
    assert one != other
    assert len(one) < 256


def test_an_item_over_the_broker_s_size_is_rejected_with_its_bytes() -> None:
    envelope = ARRIVAL.envelope("segment", "app", "app")
    assert accept(b"1" * MAX_ITEM_BYTES, envelope).topic == "events.raw"
    over = accept(b"1" * (MAX_ITEM_BYTES + 1), envelope)
    assert (over.topic, over.reason) == ("events.rejected", "item_too_large")


def test_a_truncated_reject_says_so() -> None:
    entry = json.loads(
        reject(Reject("collect", "x", "why"), None, b"1" * (MAX_REJECTED_BYTES + 1)).value
    )
    assert "only the first 2500000 bytes are kept" in entry["detail"]


@pytest.mark.parametrize("value", [b"-\xc4@", b"1\x80", b'"\xff"', b'"\\ud800"', b"{}", b"", None])
def test_what_only_begins_like_a_text_or_number_is_none(value: bytes | None) -> None:
    assert text(value) is None
