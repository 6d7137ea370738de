"""What a waiting rule keeps of its event, and the event that is made of it again."""

from typing import Any, Final

import msgspec

from schemas.events import Event
from streams.core.event_time import event_time_ms
from streams.core.state.user import Cause

MAX_PROPERTIES_BYTES: Final = 4096
_json = msgspec.json.Encoder().encode
_mapping = msgspec.json.Decoder(dict[str, Any]).decode


def limited(properties: dict[str, Any]) -> dict[str, Any]:
    """Return properties of at most 4 KiB as JSON: where they are more, the short plain ones."""
    if len(_json(properties)) <= MAX_PROPERTIES_BYTES:
        return properties
    kept: dict[str, Any] = {}
    room = MAX_PROPERTIES_BYTES - 2
    for name, value in properties.items():
        room -= len(_json({name: value}))
        if isinstance(value, dict | list):
            room += len(_json({name: value}))
        elif room < 0:
            break
        else:
            kept[name] = value
    return kept


def to_cause(event: Event, roots: frozenset[str]) -> Cause:
    """Return what a timer keeps of its event; ``roots`` are the mappings a rule reads later.

    The identifiers are in the state: only a rule that asks for this event's keeps them.
    """
    return Cause(
        event.message_id,
        event.type,
        event.event,
        event.source,
        event.door,
        event.account,
        event_time_ms(event),
        event.received_at_ms,
        event.identities if "identities" in roots else {},
        _json(limited(event.properties)),
        _json(limited(event.context)) if "context" in roots else b"",
        _json(limited(event.traits)) if "traits" in roots else b"",
    )


def to_event(cause: Cause, user: str) -> Event:
    """Return the event of a cause, with what was kept of it."""
    return Event(
        message_id=cause.message_id,
        type=cause.type,  # type: ignore[arg-type]  # it came from an event: one of its names
        event=cause.event,
        user=user,
        source=cause.source,  # type: ignore[arg-type]  # as above
        door=cause.door,  # type: ignore[arg-type]  # as above
        account=cause.account,
        timestamp_ms=cause.time_ms,
        received_at_ms=cause.received_at_ms,
        identities=cause.identities,
        properties=_mapping(cause.properties),
        context=_mapping(cause.context) if cause.context else {},
        traits=_mapping(cause.traits) if cause.traits else {},
    )
