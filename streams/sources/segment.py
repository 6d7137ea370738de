"""Segment's HTTP API: one call or a batch of them, as its server SDKs send them."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from schemas.raw import Envelope
from schemas.rejects import Reject
from schemas.sources import Sources, WriteKey
from streams.sources.bodies import GZIP_MAGIC, MAX_ITEMS, cut_array, cut_object, inflate, text
from streams.sources.doors import Arrival, Record, Refusal, accept

CALLS: Final = ("track", "identify", "page", "screen", "group", "alias")


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


def read_batch(
    body: bytes, authorization: str, arrival: Arrival, sources: Sources
) -> list[Record] | Refusal:
    """Return the records of ``/v1/batch``, item by item, or why the whole is refused."""
    head = cut_object(body)
    if head is None:
        return _not_an_object()
    account = _account(head, authorization, sources)
    if isinstance(account, Refusal):
        return account
    items = cut_array(head.get("batch", b""))
    if items is None:
        return Refusal(400, "no_batch", 'the body has no array "batch" that can be cut into items')
    if len(items) > MAX_ITEMS:
        return Refusal(400, "too_many_items", f"send at most {MAX_ITEMS} items in a batch")
    sent_at_ms = epoch_ms(text(head.get("sentAt")))
    return [
        accept(item, _envelope(arrival, account, sent_at_ms, item=number))
        for number, item in enumerate(items)
    ]


def read_call(
    call: str, body: bytes, authorization: str, arrival: Arrival, sources: Sources
) -> list[Record] | Refusal:
    """Return the one record of ``/v1/<call>``, or why it is refused."""
    head = cut_object(body)
    if head is None:
        return _not_an_object()
    account = _account(head, authorization, sources)
    if isinstance(account, Refusal):
        return account
    if "type" not in head:
        # Here the path tells the type, and on the topic only the bytes will.
        opened = body.index(b"{") + 1
        comma = b"," if head else b""
        body = body[:opened] + b'"type":"' + call.encode() + b'"' + comma + body[opened:]
    return [accept(body, _envelope(arrival, account, epoch_ms(text(head.get("sentAt")))))]


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


def _envelope(
    arrival: Arrival, account: WriteKey, sent_at_ms: int | None, *, item: int = 0
) -> Envelope:
    return arrival.envelope(
        "segment", account.source, account.name, sent_at_ms=sent_at_ms, item=item
    )


def _account(head: Mapping[str, bytes], authorization: str, sources: Sources) -> WriteKey | Refusal:
    """Return whom the request speaks for, by Basic authorization or ``writeKey``."""
    for key in (_basic_user(authorization), text(head.get("writeKey"))):
        if key and key in sources.write_keys:
            return sources.write_keys[key]
    return Refusal(
        401, "unknown_key", "no known write key in Basic authorization or in the body's writeKey"
    )


def _basic_user(authorization: str) -> str | None:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return None


def _not_an_object() -> Refusal:
    return Refusal(400, "not_json", "the body is not a JSON object; send application/json in UTF-8")
