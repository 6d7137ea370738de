"""What the collector accepted: the item's bytes as received, and an envelope beside them.

On the topic the record's value is the bytes themselves; the envelope travels in
one header, so that nothing has to be escaped and a redrive sends the same bytes.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.inbound import Door
from schemas.sources import Source

HEADER: Final = "siyu"


class Envelope(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """Where and when an item came in; times are epoch milliseconds, UTC.

    ``account`` is the write key's name (SDK doors), the appid (WeChat) or the corpid (WeCom).
    ``sent_at_ms`` is the client's clock at sending, where its batch named it.
    ``redrive_of`` is the id of the reject that a redrive made this item from.
    """

    door: Door
    source: Source
    account: str
    received_at_ms: int
    sent_at_ms: int | None = None
    request_id: str = ""
    item: int = 0
    redrive_of: str = ""


class RawRecord(msgspec.Struct):
    """One accepted item: ``body`` is one JSON object (SDKs) or one XML/JSON message (WeChat)."""

    envelope: Envelope
    body: bytes


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode


def to_headers(envelope: Envelope) -> list[tuple[str, bytes]]:
    """Return the Kafka headers that carry an envelope."""
    return [(HEADER, _encode(envelope))]


def from_headers(headers: Iterable[tuple[str, bytes]]) -> Envelope | None:
    """Return the envelope in a record's headers; ``None`` if it is absent or broken."""
    for name, value in headers:
        if name == HEADER:
            try:
                return _decode(value)
            except msgspec.MsgspecError:
                return None
    return None
