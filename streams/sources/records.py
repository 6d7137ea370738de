"""What all doors share: the records that a request becomes, or why it is refused."""

import hashlib
from dataclasses import dataclass, field
from typing import Final

import msgspec

from schemas import topics
from schemas.inbound import Door
from schemas.raw import Envelope, to_headers
from schemas.rejects import Reject, encode_rejected, rejected
from schemas.sources import Source
from streams.sources.bodies import text

# Brokers take records of 1 MB by default; the rest is for key, envelope and batch.
MAX_ITEM_BYTES: Final = 900_000
# In base64 it stays under the 4 MiB that the topic takes.
MAX_REJECTED_BYTES: Final = 2_500_000
_MAX_KEY_BYTES: Final = 256
# What a record costs beside its bytes: key, headers, the producer's own objects.
_RECORD_OVERHEAD_BYTES: Final = 600


@dataclass(frozen=True, slots=True)
class Record:
    """One record for the broker; ``reason`` is empty for an item on its way to ingest."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    reason: str = ""

    @property
    def cost_bytes(self) -> int:
        """Memory that the record holds until the broker acked, about."""
        return len(self.key) + len(self.value) + _RECORD_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request of which nothing is stored; ``message`` says what is wrong and what to do."""

    status: int
    code: str
    message: str
    retry_after_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a request came in and under which id."""

    received_at_ms: int
    request_id: str

    def envelope(
        self,
        door: Door,
        source: Source,
        account: str,
        *,
        sent_at_ms: int | None = None,
        item: int = 0,
    ) -> Envelope:
        """Return the envelope of one item of this request."""
        return Envelope(
            door=door,
            source=source,
            account=account,
            received_at_ms=self.received_at_ms,
            sent_at_ms=sent_at_ms,
            request_id=self.request_id,
            item=item,
        )


_ABSENT: Final = msgspec.Raw()


class _Ids(msgspec.Struct):
    """Identifiers that an SDK's item may carry, strongest first."""

    userId: msgspec.Raw = _ABSENT  # noqa: N815 - Segment's name
    login_id: msgspec.Raw = _ABSENT
    distinct_id: msgspec.Raw = _ABSENT
    anonymousId: msgspec.Raw = _ABSENT  # noqa: N815 - Segment's name
    anonymous_id: msgspec.Raw = _ABSENT


_decode_ids = msgspec.json.Decoder(_Ids).decode


def item_key(item: bytes) -> bytes:
    """Return the strongest identifier in an item, else a hash of it: a retry has the same key.

    Mostly it is spelled as the canonical user will be, so that an item lies in the partition of
    its event: a transaction of ingest then writes to one partition instead of all.
    """
    try:
        ids = _decode_ids(item)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _digest(item)
    for kind, raw in (
        ("user_id", ids.userId),
        ("user_id", ids.login_id),
        ("anonymous_id", ids.distinct_id),
        ("anonymous_id", ids.anonymousId),
        ("anonymous_id", ids.anonymous_id),
    ):
        said = text(bytes(raw))
        if said:
            key = f"{kind}:{said}".encode()
            return key if len(key) <= _MAX_KEY_BYTES else key[:128] + b"#" + _digest(key)
    return _digest(item)


def accept(item: bytes, envelope: Envelope, key: bytes | None = None) -> Record:
    """Return an item's record: as it is for ingest, or a reject if it is too large."""
    key = item_key(item) if key is None else key
    if len(item) > MAX_ITEM_BYTES:
        what = f"an item of {len(item)} bytes, over {MAX_ITEM_BYTES}"
        return reject(Reject("collect", "item_too_large", what), envelope, item, key=key)
    return Record(topics.RAW.name, key, item, to_headers(envelope))


def reject(why: Reject, envelope: Envelope | None, body: bytes, *, key: bytes = b"") -> Record:
    """Return the record of what the edge could not take apart, with the bytes as received."""
    if len(body) > MAX_REJECTED_BYTES:
        note = f"{why.detail}; only the first {MAX_REJECTED_BYTES} bytes are kept"
        why = Reject(why.stage, why.reason, note)
    entry = rejected(why, envelope, body[:MAX_REJECTED_BYTES])
    return Record(topics.REJECTED.name, key, encode_rejected(entry), reason=why.reason)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:32].encode()
