"""Segment's and RudderStack's HTTP APIs: one call or a batch, from servers and from browsers."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from schemas.raw import Envelope
from schemas.rejects import Reject
from streams.sources.bodies import GZIP_MAGIC, MAX_ITEMS, cut_array, cut_object, inflate, text
from streams.sources.keys import Account, Keys
from streams.sources.records import Arrival, Record, Refusal, accept

CALLS: Final = ("track", "identify", "page", "screen", "group", "alias")
# analytics.js names its calls by their first letter.
_LETTERS: Final = {call[0]: call for call in CALLS}
# Under /v1 too: analytics.js's host is "api.segment.io/v1".
_BROWSER: Final = (*_LETTERS, "b")
PATHS: Final = (
    *(f"/v1/{name}" for name in ("batch", *CALLS, *_BROWSER)),
    *(f"/{name}" for name in _BROWSER),
    "/beacon/v1/batch",
)


@dataclass(frozen=True, slots=True)
class Sender:
    """What head and query of a request say of its sender."""

    authorization: str = ""
    write_key: str = ""
    anonymous_id: str = ""
    sent_at: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A body that is a JSON object, its members' bytes, and whom it speaks for."""

    body: bytes
    head: Mapping[str, bytes]
    sender: Sender
    account: Account

    @property
    def sent_at_ms(self) -> int | None:
        """The client's clock at sending; RudderStack's JS SDK has it in a header."""
        return epoch_ms(text(self.head.get("sentAt")) or self.sender.sent_at)


def call_of(path: str) -> str:
    """Return the call that a path of ``PATHS`` stands for, ``batch`` among them."""
    name = path.rpartition("/")[2]
    return "batch" if name == "b" else _LETTERS.get(name, name)


def plain_body(body: bytes, encoding: str, *, cap_bytes: int) -> bytes | Refusal:
    """Return the JSON of a request; the magic decides, for proxies inflate and keep the header."""
    if encoding not in ("", "identity", "gzip"):
        return Refusal(400, "encoding_unsupported", "send Content-Encoding gzip or none")
    if not body.startswith(GZIP_MAGIC):
        return body
    plain = inflate(body, cap_bytes=cap_bytes)
    if not isinstance(plain, Reject):
        return plain
    if plain.reason == "body_too_large":
        return Refusal(413, plain.reason, f"the body has {plain.detail}; send smaller batches")
    return Refusal(400, plain.reason, f"the body is not valid gzip: {plain.detail}")


def open_body(body: bytes, sender: Sender, keys: Keys) -> Opened | Refusal:
    """Return the body's members and its account, or why the whole is refused."""
    head = cut_object(body)
    if head is None:
        what = "the body is not a JSON object; send application/json in UTF-8"
        return Refusal(400, "not_json", what)
    for key in (basic_user(sender.authorization), text(head.get("writeKey")), sender.write_key):
        account = keys.find(key)
        if account is not None:
            return Opened(body, head, sender, account)
    what = "no known write key in Basic authorization, in the body's writeKey or in the query's"
    return Refusal(401, "unknown_key", what)


def read_batch(opened: Opened, arrival: Arrival) -> list[Record] | Refusal:
    """Return the records of a batch, item by item, or why the whole is refused."""
    items = cut_array(opened.head.get("batch", b""))
    if items is None:
        return Refusal(400, "no_batch", 'the body has no array "batch" that can be cut into items')
    if len(items) > MAX_ITEMS:
        return Refusal(400, "too_many_items", f"send at most {MAX_ITEMS} items in a batch")
    account, sent_at_ms = opened.account, opened.sent_at_ms
    return [
        accept(item, _envelope(arrival, account, sent_at_ms, item=number))
        for number, item in enumerate(items)
    ]


def read_call(call: str, opened: Opened, arrival: Arrival) -> list[Record]:
    """Return the one record of a call."""
    head, added = opened.head, {}
    if "type" not in head:
        # Here the path names the type, and on the topic only the bytes will.
        added["type"] = call
    if opened.sender.anonymous_id and not head.keys() & {"anonymousId", "userId"}:
        added["anonymousId"] = opened.sender.anonymous_id
    body = _with(opened.body, added, empty=not head)
    return [accept(body, _envelope(arrival, opened.account, opened.sent_at_ms))]


def analytics_settings(key: str) -> dict[str, Any]:
    """Return what analytics.js asks Segment's CDN for: no plugins but the one that sends here."""
    return {
        "integrations": {"Segment.io": {"apiKey": key, "versionSettings": {"componentTypes": []}}},
        "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}},
        "edgeFunction": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "remotePlugins": [],
    }


def source_config(key: str, account: Account) -> dict[str, Any]:
    """Return what RudderStack's JS SDK asks its control plane for: a source without integrations.

    The SDK refuses an answer without ``source.id``, ``source.config`` and ``source.destinations``.
    """
    silent = {"errors": {"enabled": False}, "metrics": {"enabled": False}}
    source = {
        "id": account.name,
        "name": account.name,
        "writeKey": key,
        "enabled": True,
        "workspaceId": "siyu",
        "config": {"statsCollection": silent},
        "destinations": [],
        "connections": [],
    }
    return {"source": source}


def epoch_ms(moment: str | None) -> int | None:
    """Return epoch milliseconds of an ISO 8601 time (UTC if it names no zone), else ``None``."""
    if not moment:
        return None
    try:
        when = msgspec.convert(moment, datetime)
    except msgspec.ValidationError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(when.timestamp() * 1000)


def basic_user(authorization: str) -> str | None:
    """Return the user of Basic authorization; ``None`` where there is none."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    return unbase64(credentials.strip()).partition(":")[0] or None


def unbase64(encoded: str) -> str:
    """Return text out of base64, as RudderStack's ``AnonymousId`` has it; empty if it is not."""
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _with(body: bytes, added: Mapping[str, str], *, empty: bool) -> bytes:
    """Return a JSON object with members put in front; all its other bytes stay as they came."""
    if not added:
        return body
    opened = body.index(b"{") + 1
    front = json.dumps(added, ensure_ascii=False, separators=(",", ":")).encode()[1:-1]
    return body[:opened] + front + (b"" if empty else b",") + body[opened:]


def _envelope(
    arrival: Arrival, account: Account, sent_at_ms: int | None, *, item: int = 0
) -> Envelope:
    return arrival.envelope(
        "segment", account.source, account.name, sent_at_ms=sent_at_ms, item=item
    )
