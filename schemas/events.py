"""The canonical event: Segment's names on the wire plus ``identities``, one per fact."""

from typing import Any, Literal

import msgspec

from schemas.inbound import Door
from schemas.sources import Source

EventType = Literal["track", "identify", "page", "screen", "group", "alias"]
# late: over a day old on arrival; future: ahead of our clock by over five minutes;
# uncatalogued: its name is not in the tracking plan, so its properties are untyped;
# off_plan: it breaks the plan where the plan only marks (context.siyu.violations);
# bot: a crawler's user agent; test: the sender said `context.test: true`;
# redriven: it was rejected when it came, and sent again later by `siyu rejected redrive`.
Mark = Literal["late", "future", "uncatalogued", "off_plan", "bot", "test", "redriven"]


class Event(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """One accepted fact about one user; all times are epoch milliseconds, UTC.

    ``timestamp_ms`` is when it happened, corrected for the client's clock:
    received - (sent - original). ``user`` is the canonical user, spelled
    ``<kind>:<value>`` with a kind of ``schemas.identities``. ``identities`` holds every
    identifier of the event by kind; phone and e-mail only as keyed HMAC.
    ``context.channel`` is the marketing channel, where one is known.
    ``raw_partition`` and ``raw_offset`` name the record of ``events.raw`` it came from.
    On the wire a field that is at its default (null, empty) is absent.
    """

    message_id: str
    type: EventType
    event: str
    user: str
    source: Source
    door: Door
    account: str
    timestamp_ms: int
    received_at_ms: int
    original_timestamp_ms: int | None = None
    sent_at_ms: int | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    identities: dict[str, str] = {}
    context: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    marks: list[Mark] = []
    raw_partition: int = -1
    raw_offset: int = -1


class LoggedEvent(Event, array_like=True, kw_only=True):
    """An event as it is read back from its log, its fields by place, with its offset.

    ``clock_ms`` is the newest arrival of the partition up to it; 0 if it was not asked for.
    """

    offset: int = -1
    clock_ms: int = 0


encode_event = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode
