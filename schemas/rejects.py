"""A rejected item: stage, reason and the original bytes, so that it can be healed."""

import hashlib
from typing import Literal

import msgspec

from schemas.raw import Envelope

# collect: the edge stored a body it could not split; parse: not the door's format;
# validate: a field breaks its contract; identify: nobody to attribute it to;
# dedupe: this message id was already accepted; engage: the event landed, but tags or rules
# raised on it; deliver: not a touch that can be sent
# (a record of the touches topic, no accepted item); land: no ClickHouse table could take it.
Stage = Literal["collect", "parse", "validate", "identify", "dedupe", "engage", "deliver", "land"]


class Reject(msgspec.Struct, frozen=True):
    """Why an item is not an event: ``reason`` is a stable code, ``detail`` is for people."""

    stage: Stage
    reason: str
    detail: str = ""


class Rejected(msgspec.Struct, rename="camel", kw_only=True):
    """The record of ``events.rejected``; ``body`` is base64 on the wire.

    ``raw_partition``/``raw_offset`` are -1 where the edge itself rejected.
    """

    stage: Stage
    reason: str
    detail: str
    fingerprint: str
    envelope: Envelope | None
    body: bytes
    raw_partition: int = -1
    raw_offset: int = -1


def rejected(
    reject: Reject, envelope: Envelope | None, body: bytes, *, partition: int = -1, offset: int = -1
) -> Rejected:
    """Return the record of a reject; items that fail alike share the fingerprint."""
    door = envelope.door if envelope else ""
    seed = f"{door}|{reject.stage}|{reject.reason}|{reject.detail}"
    return Rejected(
        stage=reject.stage,
        reason=reject.reason,
        detail=reject.detail[:500],
        fingerprint=hashlib.sha256(seed.encode("utf-8", "backslashreplace")).hexdigest()[:16],
        envelope=envelope,
        body=body,
        raw_partition=partition,
        raw_offset=offset,
    )


class Redriven(msgspec.Struct, rename="camel", kw_only=True):
    """A record of ``events.redriven``: this reject was sent again; its key is the reject's id.

    A reject's id is ``<partition>:<offset>`` of its record in ``events.rejected``.
    """

    fingerprint: str
    at_ms: int


encode_redriven = msgspec.json.Encoder().encode
decode_redriven = msgspec.json.Decoder(Redriven).decode
encode_rejected = msgspec.json.Encoder().encode
decode_rejected = msgspec.json.Decoder(Rejected).decode
