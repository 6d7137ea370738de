"""Segment's and our own envelope: one message of an SDK to a parsed item."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from schemas.events import EventType
from schemas.inbound import SegmentItem
from schemas.raw import RawRecord
from schemas.rejects import Reject
from streams.core.intake import attribution
from streams.core.intake.parsed_item import MESSAGE_ID_HEX, ParsedItem
from streams.core.intake.reject_reasons import reject_of

_EVENT_NAMES: Final = {
    "identify": "user_identified",
    "page": "page_viewed",
    "screen": "screen_viewed",
    "group": "group_joined",
    "alias": "user_aliased",
}
# What Segment's mobile SDKs emit by themselves ("Application Lifecycle Events").
_LIFECYCLE_NAMES: Final = {
    "Application Installed": "app_installed",
    "Application Opened": "app_started",
    "Application Backgrounded": "app_ended",
}


def parse_segment(raw: RawRecord) -> ParsedItem | Reject:
    """Return the parsed item of one JSON message."""
    try:
        item = SegmentItem.model_validate_json(raw.body)
    except ValidationError as error:
        return reject_of(error)
    kind = item.type or _inferred_type(item)
    if kind is None:
        return Reject("validate", "missing_field", "type: say track, identify, page, …")
    event = item.event if kind == "track" else _EVENT_NAMES[kind]
    if not event:
        return Reject("validate", "missing_field", "event: a track needs the event's name")
    # `timestamp` is a server SDK's own time; where both are sent it is somebody's corrected one.
    original = item.original_timestamp or item.timestamp
    sent_ms = epoch_ms(item.sent_at) if item.sent_at is not None else raw.envelope.sent_at_ms
    context = item.context or {}
    if channel := attribution.of_context(context):
        context["channel"] = channel
    parsed = ParsedItem(
        message_id=item.message_id or _digest(raw.body),
        type=kind,
        event=_LIFECYCLE_NAMES.get(event, event),
        original_ms=epoch_ms(original) if original is not None else None,
        sent_ms=sent_ms,
        identities=_identities(item, context),
        context=context,
        properties=item.properties or {},
        traits=_traits(kind, item, context),
    )
    if kind != "track":
        _shape(parsed, item)
    return parsed


def epoch_ms(time: datetime) -> int:
    """Return epoch milliseconds; a time without a zone is UTC."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _inferred_type(item: SegmentItem) -> EventType | None:
    """Return the type of a message that was posted by hand to a path and does not repeat it."""
    if item.event:
        return "track"
    if item.previous_id is not None:
        return "alias"
    if item.group_id is not None:
        return "group"
    return "identify" if item.traits is not None else None


def _digest(body: bytes) -> str:
    """Return a message id for a message without one: equal bytes are the same fact."""
    return "sha-" + hashlib.sha256(body).hexdigest()[:MESSAGE_ID_HEX]


def _identities(item: SegmentItem, context: dict[str, Any]) -> dict[str, Any]:
    """Return what the message says about who it was; its own ids win over the map."""
    identities = dict(item.identities) if item.identities else {}
    if item.user_id is not None:
        identities["user_id"] = item.user_id
    if item.anonymous_id is not None:
        identities["anonymous_id"] = item.anonymous_id
    device = context.get("device")
    if isinstance(device, dict) and isinstance(device.get("id"), str):
        identities.setdefault("device_id", device["id"])
    return identities


def _traits(kind: EventType, item: SegmentItem, context: dict[str, Any]) -> dict[str, Any]:
    """Return the user's traits; RudderStack's SDKs put those of an identify into the context."""
    if item.traits is not None or kind != "identify":
        return item.traits or {}
    inner = context.get("traits")
    return context.pop("traits") if isinstance(inner, dict) else {}


def _shape(parsed: ParsedItem, item: SegmentItem) -> None:
    """Move the fields that only pages, groups and aliases have to their properties."""
    properties = parsed.properties
    if parsed.type in {"page", "screen"}:
        if item.name is not None:
            properties.setdefault("name", item.name)
        if item.category is not None:
            properties.setdefault("category", item.category)
    elif parsed.type == "group":
        if item.group_id is not None:
            properties["group_id"] = item.group_id
        # A group's traits (its phone too) are not the user's.
        if parsed.traits:
            properties["group_traits"], parsed.traits = parsed.traits, {}
    elif parsed.type == "alias" and item.previous_id is not None:
        properties["previous_id"] = item.previous_id
