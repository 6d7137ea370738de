import json
from typing import Any

import pytest

from schemas.errors import ConfigInvalid
from schemas.events import Event
from schemas.inbound import Door
from schemas.raw import Envelope, RawRecord
from schemas.rejects import Reject
from schemas.sources import Source
from streams.authoring.plan import shipped_plan
from streams.core.intake.validate import Validator

VALIDATOR = Validator(b"unit-key", shipped_plan())
RECEIVED_MS = 1_782_900_000_000
TRACK = {"type": "track", "event": "wrote", "userId": "u-1", "messageId": "m-1"}


def judge(
    body: bytes | str, door: Door = "segment", source: Source = "app", sent_at_ms: int | None = None
) -> Event | Reject:
    envelope = Envelope(
        door=door, source=source, account="a", received_at_ms=RECEIVED_MS, sent_at_ms=sent_at_ms
    )
    return VALIDATOR.event(
        RawRecord(envelope, body.encode() if isinstance(body, str) else body), 1, 2
    )


def accepted(**changes: Any) -> Event:  # noqa: ANN401 - fields of a JSON item
    outcome = judge(json.dumps({**TRACK, **changes}))
    assert isinstance(outcome, Event), outcome
    return outcome


def refused(**changes: Any) -> Reject:  # noqa: ANN401 - as above
    outcome = judge(json.dumps({**TRACK, **changes}))
    assert isinstance(outcome, Reject)
    return outcome


def nested(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for _ in range(levels - 1):
        tree = {"a": tree}
    return tree


@pytest.mark.parametrize(
    ("body", "stage", "reason"),
    [
        (b"", "parse", "not_json"),
        (b"<xml/>", "parse", "not_json"),
        (b"[]", "parse", "not_object"),
        (b'{"event":"\xff"}', "parse", "not_utf8"),
        (b'{"event":"\\ud83d"}', "parse", "lone_surrogate"),
        (b'{"event":"\\ud83d\\u0041"}', "parse", "lone_surrogate"),
        (b'{"a":' + b"[" * 9999 + b"]" * 9999 + b"}", "parse", "too_deep"),
        (b'{"a":' + b"9" * 9999 + b"}", "parse", "number_out_of_range"),
        (b'{"type":"sing","event":"x"}', "validate", "unsupported_type"),
        (b"{}", "validate", "missing_field"),
        (b'{"type":"track"}', "validate", "missing_field"),
        (b'{"type":"track","event":"x","properties":[]}', "validate", "bad_field"),
        (b'{"type":"track","event":"x"}', "identify", "no_identifier"),
    ],
)
def test_a_body_that_is_no_message_is_refused_with_its_reason(
    body: bytes, stage: str, reason: str
) -> None:
    outcome = judge(body)
    assert isinstance(outcome, Reject)
    assert (outcome.stage, outcome.reason) == (stage, reason)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**64, "number_out_of_range"),
        (-(2**63) - 1, "number_out_of_range"),
        (float("inf"), "number_out_of_range"),
        (float("nan"), "not_a_number"),
        ("a" * 8193, "too_long"),
        (["a" * 8193], "too_long"),
        ("\0", "nul_character"),
        ({"\0": 1}, "nul_character"),
        ({"k" * 257: 1}, "too_long"),
        (nested(16), "too_deep"),
        ([[[nested(13)]]], "too_deep"),
    ],
)
@pytest.mark.parametrize("section", ["properties", "context", "traits"])
def test_a_value_past_a_limit_is_refused(section: str, value: object, reason: str) -> None:
    assert refused(**{section: {"v": value}}).reason == reason


@pytest.mark.parametrize(
    "value",
    [2**64 - 1, -(2**63), 1e308, "a" * 8192, "\\u0000", {"k" * 256: 1}, nested(15), None, True],
)
@pytest.mark.parametrize("section", ["properties", "context", "traits"])
def test_a_value_at_its_limit_is_kept(section: str, value: object) -> None:
    event = accepted(**{section: {"v": value}})
    assert getattr(event, section)["v"] == value


def test_256_properties_are_kept_and_257_refused() -> None:
    assert len(accepted(properties={str(n): n for n in range(256)}).properties) == 256
    assert refused(properties={str(n): n for n in range(257)}).reason == "too_many_properties"


def test_an_event_name_has_at_most_128_characters() -> None:
    assert accepted(event="e" * 128).event == "e" * 128
    assert refused(event="e" * 129).reason == "too_long"


def test_a_known_event_keeps_its_types_and_may_carry_more() -> None:
    event = accepted(event="order_paid", properties={"order_id": "o", "amount": 9, "gift": [1]})
    assert event.properties == {"order_id": "o", "amount": 9, "gift": [1]}
    assert event.marks == []


@pytest.mark.parametrize(
    ("properties", "where"),
    [
        ({"order_id": "o", "amount": "9"}, "properties.amount"),
        ({"order_id": "o", "amount": -1}, "properties.amount"),
        ({"order_id": "o", "amount": True}, "properties.amount"),
        ({"amount": 9}, "properties.order_id"),
        ({"order_id": "o", "amount": 9, "skus": "a"}, "properties.skus"),
        (None, "properties.order_id"),
    ],
)
def test_a_known_event_with_a_wrong_property_is_refused_with_its_path(
    properties: object, where: str
) -> None:
    reject = refused(event="order_paid", properties=properties)
    assert (reject.stage, reject.reason) == ("validate", "bad_property")
    assert reject.detail.startswith(where + ":")


def test_items_that_fail_alike_have_the_same_detail() -> None:
    one = refused(event="order_paid", properties={"order_id": "o1", "amount": "9"})
    two = refused(event="order_paid", properties={"order_id": "o2", "amount": "nine"})
    assert one == two
    assert judge(b'{"a"') == judge(b'{"type":"track","a"')


def test_an_unknown_event_is_kept_and_marked() -> None:
    assert accepted(event="Nobody Knows").marks == ["uncatalogued"]


def test_only_the_official_account_or_a_server_may_say_that_it_was_followed() -> None:
    body = json.dumps({**TRACK, "event": "official_account_followed"})
    assert isinstance(judge(body, source="server"), Event)
    outcome = judge(body, source="web")
    assert isinstance(outcome, Reject)
    assert outcome.reason == "source_not_allowed"


@pytest.mark.parametrize(
    ("sent", "time_ms"),
    [
        ({"timestamp": "2026-07-01T09:59:50Z"}, 1_782_899_990_000),
        ({"timestamp": "2026-07-01T17:59:50.5+08:00"}, 1_782_899_990_500),
        ({"timestamp": "2026-07-01T09:59:50.1234567"}, 1_782_899_990_123),
        ({"timestamp": "2026-07-01 09:59:50"}, 1_782_899_990_000),
        ({"timestamp": "2020-01-01T00:00Z", "sentAt": "2020-01-01T00:00:07Z"}, RECEIVED_MS - 7000),
        (
            {
                "originalTimestamp": "2020-01-01T00:00:00Z",
                "sentAt": "2020-01-01T00:00:03Z",
                "timestamp": "2026-06-30T00:00:00Z",
            },
            RECEIVED_MS - 3000,
        ),
        ({"sentAt": "2020-01-01T00:00:00Z"}, RECEIVED_MS),
        ({}, RECEIVED_MS),
    ],
)
def test_event_time_is_corrected_for_the_clients_clock(sent: dict[str, str], time_ms: int) -> None:
    assert accepted(**sent).timestamp_ms == time_ms


def test_the_items_own_sending_time_wins_over_its_batchs() -> None:
    body = {**TRACK, "timestamp": "2020-01-01T00:00:00Z"}
    batch_sent_ms = 1_577_836_801_000  # 2020-01-01T00:00:01Z
    outcome = judge(json.dumps(body), sent_at_ms=batch_sent_ms)
    assert isinstance(outcome, Event)
    assert outcome.timestamp_ms == RECEIVED_MS - 1000
    outcome = judge(json.dumps(body | {"sentAt": "2020-01-01T00:00:02Z"}), sent_at_ms=batch_sent_ms)
    assert isinstance(outcome, Event)
    assert outcome.timestamp_ms == RECEIVED_MS - 2000


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01", [], {"a": 1}])
def test_a_time_that_is_none_is_refused(time: object) -> None:
    assert refused(timestamp=time).reason == "bad_time"


def test_a_message_without_id_gets_one_from_its_bytes() -> None:
    body = json.dumps({"type": "track", "event": "wrote", "userId": "u-1"})
    one, two, other = judge(body), judge(body), judge(body + " ")
    assert isinstance(one, Event)
    assert isinstance(two, Event)
    assert isinstance(other, Event)
    assert one.message_id == two.message_id != other.message_id


def test_an_empty_key_for_personal_data_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="SIYU_PII_KEY"):
        Validator(b"", shipped_plan())
