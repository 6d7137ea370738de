"""Sensors Data (神策): one item of its SDKs to a parsed item with canonical names."""

import hashlib
import re
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from schemas.events import EventType
from schemas.inbound import SensorsItem
from schemas.raw import RawRecord
from schemas.rejects import Reject
from streams.core.intake import attribution
from streams.core.intake.parsed_item import MESSAGE_ID_HEX, ParsedItem
from streams.core.intake.reject_reasons import reject_of

_PRESETS: Final = {
    "$MPLaunch": "mini_program_launched",
    "$MPShow": "mini_program_shown",
    "$MPHide": "mini_program_hidden",
    "$MPViewScreen": "page_viewed",
    "$MPPageLeave": "page_left",
    "$MPShare": "content_shared",
    "$MPClick": "element_clicked",
    "$MPAddFavorites": "content_favorited",
    "$AppInstall": "app_installed",
    "$AppStart": "app_started",
    "$AppEnd": "app_ended",
    "$AppViewScreen": "screen_viewed",
    "$AppPageLeave": "page_left",
    "$AppClick": "element_clicked",
    "$pageview": "page_viewed",
    "$WebClick": "element_clicked",
    "$WebStay": "page_left",
    "$SignUp": "user_identified",
    "$BindID": "identity_bound",
    "$UnbindID": "identity_unbound",
}
_TYPES: Final[dict[str, tuple[EventType, str]]] = {
    "track": ("track", ""),
    "track_signup": ("identify", "user_identified"),
    "track_id_bind": ("identify", "identity_bound"),
    # Not an identify: what is being parted must not be taken for a link.
    "track_id_unbind": ("track", "identity_unbound"),
    "profile_set": ("identify", "profile_updated"),
    "profile_set_once": ("identify", "profile_updated"),
    "profile_increment": ("identify", "profile_updated"),
    "profile_append": ("identify", "profile_updated"),
    "profile_unset": ("identify", "profile_updated"),
    "profile_delete": ("identify", "profile_deleted"),
}
# Preset properties whose place in Segment's context is known: "$name" -> (section, field).
_CONTEXT: Final = {
    "$lib": ("library", "name"),
    "$lib_version": ("library", "version"),
    "$app_id": ("app", "id"),
    "$app_name": ("app", "name"),
    "$app_version": ("app", "version"),
    "$os": ("os", "name"),
    "$os_version": ("os", "version"),
    "$manufacturer": ("device", "manufacturer"),
    "$brand": ("device", "brand"),
    "$model": ("device", "model"),
    "$network_type": ("network", "type"),
    "$screen_width": ("screen", "width"),
    "$screen_height": ("screen", "height"),
    "$utm_source": ("campaign", "source"),
    "$utm_medium": ("campaign", "medium"),
    "$utm_campaign": ("campaign", "name"),
    "$utm_term": ("campaign", "term"),
    "$utm_content": ("campaign", "content"),
    "$latest_utm_source": ("latest_campaign", "source"),
    "$latest_utm_medium": ("latest_campaign", "medium"),
    "$latest_utm_campaign": ("latest_campaign", "name"),
    "$latest_utm_term": ("latest_campaign", "term"),
    "$latest_utm_content": ("latest_campaign", "content"),
    "$share_depth": ("share", "depth"),
    "$share_distinct_id": ("share", "from"),
    "$share_url_path": ("share", "path"),
    "$share_method": ("share", "method"),
}
# What the SDKs write where they have no value; a share depth of -1 is one of them.
_ABSENT: Final = ("", None, "取值异常", "未取到值", "-1", -1)
_PROPERTIES: Final = {
    "$url_path": "path",
    "$element_content": "element",
    "$event_duration": "duration_s",
    "$screen_name": "name",
}
_IDENTITIES: Final = {
    "$identity_login_id": "user_id",
    "$identity_mp_unionid": "unionid",
    "$identity_mobile": "phone",
    "$identity_email": "email",
    "$identity_anonymous_id": "anonymous_id",
    "$identity_mp_id": "anonymous_id",
    "$identity_cookie_id": "anonymous_id",
    "$identity_android_uuid": "device_id",
    "$identity_android_id": "device_id",
    "$identity_idfv": "device_id",
    "$identity_ios_uuid": "device_id",
    "$identity_harmony_uuid": "device_id",
}
# A distinct id in IDM 3.0's spelling: "$identity_mobile+13800138000".
_SPELT: Final = re.compile(r"(\$identity_\w+)\+(.+)", re.DOTALL)
_OPENID: Final = re.compile(r"\$identity_mp_(\w+)_openid")


def parse_sensors(raw: RawRecord) -> ParsedItem | Reject:
    """Return the parsed item of one JSON item."""
    try:
        item = SensorsItem.model_validate_json(raw.body)
    except ValidationError as error:
        return reject_of(error)
    mapped = _TYPES.get(item.type)
    if mapped is None:
        return Reject("validate", "unsupported_type", f"type: {item.type[:64]}")
    kind, name = mapped
    event = name or _PRESETS.get(item.event or "", item.event)
    if not event:
        return Reject("validate", "missing_field", "event: a track needs the event's name")
    properties = item.properties or {}
    # Before some of the properties move elsewhere: its id is over what was sent.
    message_id = _message_id(item, raw.envelope.account)
    identities = _identities(item, properties)
    context = _context(item, properties)
    properties, traits = _payload(item.type, properties)
    sent_ms = item.flush_time if item.flush_time is not None else raw.envelope.sent_at_ms
    return ParsedItem(
        message_id=message_id,
        type=kind,
        event=event,
        original_ms=item.time,
        sent_ms=sent_ms,
        identities=identities,
        context=context,
        properties=properties,
        traits=traits,
    )


def _message_id(item: SensorsItem, account: str) -> str:
    """Return the SDK's own dedupe key, hashed; what has no ``_track_id`` adds its payload.

    ``_flush_time`` stays out: a resend carries another one.
    """
    key: list[Any] = [
        item.project or account,
        item.distinct_id,
        item.type,
        item.event,
        item.time,
        item.track_id,
    ]
    if item.track_id is None or item.type.startswith("profile_"):
        key += [item.identities, item.properties]
    packed = msgspec.json.encode(key, order="deterministic")
    return "sa-" + hashlib.sha256(packed).hexdigest()[:MESSAGE_ID_HEX]


def _identities(item: SensorsItem, properties: dict[str, Any]) -> dict[str, Any]:
    """Return the identifiers by kind; a second value of a kind keeps its Sensors name."""
    identities: dict[str, Any] = {}
    distinct_id = item.distinct_id
    listed = dict(item.identities or {})
    if spelt := _SPELT.fullmatch(distinct_id or ""):
        # IDM 3.0 names a user without login or device by any identifier, even a plain phone.
        listed.setdefault(spelt[1], spelt[2])
        distinct_id = None
    if item.type == "track_signup" and item.original_id:
        identities |= {"user_id": distinct_id, "anonymous_id": item.original_id}
    for key, value in sorted(listed.items()):
        if value in (None, ""):
            continue
        kind = _IDENTITIES.get(key)
        if kind is None and (openid := _OPENID.fullmatch(key)):
            kind, value = "openid", f"{openid[1]}:{value}"  # noqa: PLW2901 - one name for the identifier in either form
        identities[key if kind is None or kind in identities else kind] = value
    if item.login_id:
        identities.setdefault("user_id", item.login_id)
    elif properties.get("$is_login_id") is True and distinct_id:
        identities.setdefault("user_id", distinct_id)
    # The distinct id may repeat an identifier of another kind, a plain phone among them.
    known = (*listed.values(), *identities.values())
    anonymous = item.anonymous_id or (None if distinct_id in known else distinct_id)
    if anonymous:
        identities.setdefault("anonymous_id", anonymous)
    return identities


def _context(item: SensorsItem, properties: dict[str, Any]) -> dict[str, Any]:
    """Move what describes the client out of the properties into Segment's context."""
    context: dict[str, Any] = {}
    for source in (item.lib or {}, properties):
        for key in [key for key in source if key in _CONTEXT]:
            section, field = _CONTEXT[key]
            value = source.pop(key)
            # A sharer who is known by phone alone is not worth a plain phone here.
            plain = field == "from" and _SPELT.fullmatch(str(value))
            if value not in _ABSENT and not plain:
                context.setdefault(section, {})[field] = value
    if item.project:
        context["project"] = item.project
    for key in ("$scene", "$latest_scene"):
        if key in properties:
            context[key[1:]] = properties.pop(key)
    if channel := _channel(context):
        context["channel"] = channel
    return context


def _channel(context: dict[str, Any]) -> str | None:
    """Return the channel: this visit's campaign, share or scene, else the latest visit's."""
    shared = "share" if context.get("share", {}).get("depth") else None
    return (
        attribution.of_campaign(context.get("campaign", {}).get("source"))
        or shared
        or attribution.of_scene(context.get("scene"))
        or attribution.of_campaign(context.get("latest_campaign", {}).get("source"))
        or attribution.of_scene(context.get("latest_scene"))
    )


def _payload(kind: str, properties: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (properties, traits): only a set states values that the user now has."""
    properties.pop("$is_login_id", None)
    if kind in {"profile_set", "profile_set_once"}:
        return {"operation": kind.removeprefix("profile_")}, _plain(properties)
    if kind.startswith("profile_") and kind != "profile_delete":
        return {"operation": kind.removeprefix("profile_"), "values": _plain(properties)}, {}
    return _plain(properties), {}


def _plain(properties: dict[str, Any]) -> dict[str, Any]:
    """Return properties under names that rules can spell; the SDK's own never hide the caller's."""
    plain = {key: value for key, value in properties.items() if not key.startswith("$")}
    for key, value in properties.items():
        if key.startswith("$"):
            name = _PROPERTIES.get(key, key[1:])
            plain[key if name in plain or not name else name] = value
    return plain
