import json
from typing import Any, get_args
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Event, decode_event, encode_event
from schemas.inbound import Door
from schemas.raw import Envelope, RawRecord
from schemas.rejects import Reject
from schemas.sources import Source
from streams.authoring.plan import shipped_plan
from streams.core.intake.reject_reasons import REASONS
from streams.core.intake.validate import Validator

VALIDATOR = Validator(b"law-key", shipped_plan())
DOORS: tuple[Door, ...] = get_args(Door)
SOURCES: tuple[Source, ...] = get_args(Source)
RECEIVED_MS = 1_782_900_000_000

ints = st.integers(-(2**70), 2**70)
scalars = st.none() | st.booleans() | ints | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
FIELDS = (
    "type",
    "event",
    "name",
    "category",
    "messageId",
    "userId",
    "anonymousId",
    "previousId",
    "groupId",
    "timestamp",
    "originalTimestamp",
    "sentAt",
    "context",
    "properties",
    "traits",
    "identities",
    "distinct_id",
    "anonymous_id",
    "login_id",
    "original_id",
    "time",
    "_flush_time",
    "_track_id",
    "project",
    "lib",
    "FromUserName",
    "ToUserName",
    "CreateTime",
    "MsgType",
    "Event",
    "EventKey",
    "MsgId",
    "MsgID",
    "List",
    "Latitude",
    "Status",
    "Content",
    "UnionId",
    "Encrypt",
)
TYPES = (
    "track",
    "identify",
    "page",
    "screen",
    "group",
    "alias",
    "profile_set",
    "profile_increment",
    "profile_delete",
    "track_signup",
    "track_id_unbind",
)
EVENTS = st.sampled_from(sorted(shipped_plan().events)) | st.sampled_from(
    ["$MPLaunch", "subscribe", "SCAN", "LOCATION", "subscribe_msg_sent_event", "anything"]
)
KEYS = st.sampled_from(
    [
        "phone",
        "email",
        "mobile",
        "sku",
        "amount",
        "templates",
        "scene",
        "$scene",
        "$utm_source",
        "$share_depth",
        "$is_login_id",
        "campaign",
        "device",
        "id",
        "traits",
        "openid",
        "user_id",
        "$identity_mobile",
        "$identity_mp_wx1_openid",
        "source",
        "channel",
    ]
) | st.text(max_size=8)
plain = st.text(max_size=9) | st.integers(0, 99) | st.booleans() | st.sampled_from(["wx1:o", "$x"])
objects = st.dictionaries(KEYS, values, max_size=3) | st.dictionaries(KEYS, plain, max_size=6)


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    """Near-valid items: known fields, some of them with values of any type."""
    item: dict[str, Any] = draw(
        st.dictionaries(st.sampled_from(FIELDS), values | objects, max_size=3)
    )
    plausible = {
        "type": st.sampled_from(TYPES),
        "event": EVENTS,
        "Event": EVENTS,
        "properties": objects,
        "context": objects,
        "traits": objects,
        "identities": objects,
        "MsgType": st.just("event"),
        "CreateTime": st.integers(0, 2**33),
        "FromUserName": st.text(max_size=9),
        "userId": st.text(max_size=9),
        "distinct_id": st.text(max_size=9),
        "login_id": st.none() | st.text(max_size=9),
        "anonymous_id": st.text(max_size=9),
        "EventKey": st.text(max_size=20),
        "MsgId": st.none() | st.integers(0, 2**63),
        "time": st.integers(0, 2**43),
        "timestamp": st.datetimes().map(str),
    }
    for name, strategy in plausible.items():
        if draw(st.integers(0, 9)):
            item[name] = draw(strategy)
    return item


def judge(door: Door, source: Source, body: bytes) -> Event | Reject:
    envelope = Envelope(door=door, source=source, account="a", received_at_ms=RECEIVED_MS)
    return VALIDATOR.event(RawRecord(envelope, body), 0, 0)


def check(door: Door, source: Source, body: bytes) -> None:
    outcome = judge(door, source, body)
    assert outcome == judge(door, source, body)
    if isinstance(outcome, Reject):
        assert outcome.reason in REASONS
        assert outcome.stage in {"parse", "validate", "identify"}
    else:
        assert decode_event(encode_event(outcome)) == outcome
        assert outcome.user.partition(":")[0] in outcome.identities
        assert len(outcome.event) <= 128
        assert "\0" not in encode_event(outcome).decode()


@given(st.sampled_from(DOORS), st.binary())
def test_any_bytes_give_an_event_or_a_reject(door: Door, body: bytes) -> None:
    check(door, "server", body)


@given(st.sampled_from(DOORS), values)
def test_any_json_gives_an_event_or_a_reject(door: Door, value: object) -> None:
    check(door, "server", json.dumps(value).encode())


@given(st.sampled_from(DOORS), st.sampled_from(SOURCES), items())
def test_near_valid_items_give_an_event_or_a_reject(
    door: Door, source: Source, item: dict[str, Any]
) -> None:
    check(door, source, json.dumps(item).encode())


@given(items())
def test_the_same_item_in_xml_gives_an_event_or_a_reject(item: dict[str, Any]) -> None:
    fields = "".join(f"<{key}>{value}</{key}>" for key, value in item.items())
    check("wechat", "official_account", f"<xml>{fields}</xml>".encode("utf-8", "replace"))


pushes = st.fixed_dictionaries(
    {
        "ToUserName": st.just("gh_1"),
        "FromUserName": st.text("abc", min_size=1, max_size=5),
        "CreateTime": st.integers(0, RECEIVED_MS // 500),
        "MsgType": st.sampled_from(["event", "text", "image", "location"]),
        "Event": st.sampled_from(["subscribe", "unsubscribe", "SCAN", "CLICK", "VIEW", "LOCATION"]),
    },
    optional={
        "EventKey": st.text(max_size=20),
        "Content": st.text(max_size=20),
        "MsgId": st.integers(0, 2**63),
        "Latitude": st.floats(),
        "UnionId": st.text(max_size=9),
    },
)


@given(pushes)
def test_a_push_in_xml_gives_an_event_or_a_reject(push: dict[str, Any]) -> None:
    fields = "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in push.items())
    check("wechat", "official_account", f"<xml>{fields}</xml>".encode("utf-8", "replace"))


PHONE, EMAIL = "13812345678", "li.lei@example.com"
PII_KEYS = st.sampled_from(["phone", "mobile", "$phone", "Phone_Number", "email", "user-email"])


@given(
    st.sampled_from(["segment", "sensors"]),
    st.sampled_from(["properties", "traits", "context", "identities"]),
    PII_KEYS,
    st.sampled_from([PHONE, EMAIL, int(PHONE), [PHONE], {"value": EMAIL}]),
    st.integers(0, 5),
)
def test_no_plain_phone_or_email_leaves_the_validator(
    door: Door, section: str, key: str, value: object, depth: int
) -> None:
    tree: dict[str, Any] = {key: value}
    for _ in range(depth if section != "identities" else 0):
        tree = {"inner": [tree]}
    item = {"type": "track", "event": "wrote", "userId": "u", "distinct_id": "u", section: tree}
    outcome = judge(door, "server", json.dumps(item).encode())
    assert isinstance(outcome, Event)
    assert PHONE not in encode_event(outcome).decode()
    assert EMAIL not in encode_event(outcome).decode()


@pytest.mark.parametrize("key", ["$identity_mobile", "$identity_email"])
def test_a_sensors_distinct_id_that_spells_a_phone_stays_no_plain_text(key: str) -> None:
    plain = PHONE if key.endswith("mobile") else EMAIL
    item = {"type": "track", "event": "wrote", "distinct_id": f"{key}+{plain}"}
    item["properties"] = {"$share_distinct_id": f"{key}+{plain}"}  # type: ignore[assignment] # a JSON object
    outcome = judge("sensors", "server", json.dumps(item).encode())
    assert isinstance(outcome, Event)
    assert plain not in encode_event(outcome).decode()
    assert outcome.user.startswith(("phone_hmac:", "email_hmac:"))
