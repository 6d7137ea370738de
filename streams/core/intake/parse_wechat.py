"""WeChat's pushes: one decrypted XML or JSON message to a parsed item.

XML is read by expat without DTDs; an entity declaration ends it before expansion.
"""

import re
from typing import Any, Final
from xml.parsers import expat

from pydantic import ValidationError
from pydantic_core import from_json

from schemas.errors import PartMissing
from schemas.inbound import WeChatMessage
from schemas.raw import RawRecord
from schemas.rejects import Reject
from schemas.sources import Source
from streams.core.intake import attribution
from streams.core.intake.parsed_item import ParsedItem
from streams.core.intake.reject_reasons import json_reject, reject_of

MAX_BYTES: Final = 64 * 1024
_MAX_DEPTH: Final = 16
_NAME_MAX: Final = 128
# Older ones fall to nested-entity bombs (CVE-2013-0340) even where we look first.
_MIN_EXPAT: Final = (2, 4, 1)

_EVENTS: Final = {
    "subscribe": "official_account_followed",
    "unsubscribe": "official_account_unfollowed",
    "SCAN": "official_account_qr_scanned",
    "LOCATION": "official_account_location_reported",
    "CLICK": "official_account_menu_clicked",
    "VIEW": "official_account_link_opened",
    "TEMPLATESENDJOBFINISH": "official_account_template_reported",
    "subscribe_msg_popup_event": "subscription_prompted",
    "subscribe_msg_change_event": "subscription_changed",
    "subscribe_msg_sent_event": "subscription_message_reported",
}
_TEMPLATE_FIELDS: Final = {
    "TemplateId": "template_id",
    "SubscribeStatusString": "answer",
    "PopupScene": "popup_scene",
    "MsgID": "template_message_id",
    "ErrorCode": "code",
    "ErrorStatus": "status",
}


class _Unsafe(Exception):
    """The XML declares a DTD or nests too deeply; carries our reason."""


def require_expat() -> None:
    """Raise ``PartMissing`` if this Python's expat is too old to read XML from outside."""
    if expat.version_info < _MIN_EXPAT:
        raise PartMissing(
            "expat", f"{expat.EXPAT_VERSION} is unsafe", remedy="use a Python with expat 2.4.1+"
        )


def parse_wechat(raw: RawRecord) -> ParsedItem | Reject:
    """Return the parsed item of one message; ``envelope.account`` is the appid."""
    fields = read_fields(raw.body)
    if isinstance(fields, Reject):
        return fields
    try:
        message = WeChatMessage.model_validate(fields)
    except ValidationError as error:
        return reject_of(error)
    if message.msg_type == "event" and not message.event:
        return Reject("validate", "missing_field", "Event: an event needs its name")
    event, properties = _event(message, fields, raw.envelope.source)
    appid = raw.envelope.account
    context: dict[str, Any] = {"app": {"id": appid}}
    if message.to_user_name:
        context["to"] = message.to_user_name
    if "scene" in properties:
        context["channel"] = attribution.of_qr(properties["scene"])
    return ParsedItem(
        message_id=_message_id(message, properties),
        type="track",
        event=event,
        original_ms=message.create_time_s * 1000,
        sent_ms=None,
        identities={
            "openid": f"{appid}:{message.from_user_name}" if message.from_user_name else None,
            "unionid": fields.get("UnionId") or fields.get("unionid"),
        },
        context=context,
        properties=properties,
        traits={},
    )


def read_fields(body: bytes) -> dict[str, Any] | Reject:
    """Return the fields of an XML or JSON message that nothing seals any more."""
    if len(body) > MAX_BYTES:
        return Reject("parse", "too_long", f"a WeChat message has at most {MAX_BYTES} bytes")
    fields = _read_json(body) if body.lstrip()[:1] == b"{" else _try_xml(body)
    if not isinstance(fields, Reject) and "Encrypt" in fields and "MsgType" not in fields:
        return Reject("parse", "encrypted", "only Encrypt is there")
    return fields


def _read_json(body: bytes) -> dict[str, Any] | Reject:
    try:
        fields = from_json(body)
    except ValueError as error:
        return json_reject(str(error))
    return fields if isinstance(fields, dict) else Reject("parse", "not_object")


def _try_xml(body: bytes) -> dict[str, Any] | Reject:
    try:
        return _read_xml(body.decode())
    except UnicodeDecodeError:
        return Reject("parse", "not_utf8", "the message is not UTF-8")
    except _Unsafe as unsafe:
        return Reject("parse", str(unsafe))
    except expat.ExpatError as error:
        return Reject("parse", "not_xml", expat.ErrorString(error.code))


class _Builder:
    """Elements to dicts: a repeated name becomes a list, an element without children a string."""

    def __init__(self) -> None:
        self.open: list[tuple[str, dict[str, Any], list[str]]] = [("", {}, [])]

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        if len(self.open) > _MAX_DEPTH:
            raise _Unsafe("too_deep")
        self.open.append((name, {}, []))

    def text(self, data: str) -> None:
        self.open[-1][2].append(data)

    def end(self, _name: str) -> None:
        name, children, text = self.open.pop()
        value: Any = children or "".join(text).strip()
        siblings = self.open[-1][1]
        if name not in siblings:
            siblings[name] = value
        elif isinstance(siblings[name], list):
            siblings[name].append(value)
        else:
            siblings[name] = [siblings[name], value]


def _read_xml(text: str) -> dict[str, Any] | Reject:
    parser, builder = expat.ParserCreate("utf-8"), _Builder()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.EntityDeclHandler = _refuse_doctype
    parser.Parse(text.encode(), True)  # noqa: FBT003 - expat takes it by position only
    root = next(iter(builder.open[0][1].values()), None)
    return root if isinstance(root, dict) else Reject("parse", "not_object", "no fields")


def _refuse_doctype(*_declaration: object) -> None:
    raise _Unsafe("doctype")


def _message_id(message: WeChatMessage, properties: dict[str, Any]) -> str:
    """Return WeChat's dedupe key: ``MsgId``, or who, when and what for events.

    Reports add the messages they are about: two may come in the same second.
    """
    if message.msg_id:
        return message.msg_id
    key = f"{message.from_user_name}:{message.create_time_s}:{message.event or message.msg_type}"
    listed = (entry.get("template_message_id") for entry in properties.get("templates", ()))
    about = [str(template)[:64] for template in (message.report_msg_id, *listed) if template]
    return ":".join((key, *about))


def _event(
    message: WeChatMessage, fields: dict[str, Any], source: Source
) -> tuple[str, dict[str, Any]]:
    """Return the canonical name and properties."""
    if message.msg_type != "event":
        names = {"Content": "content", "MediaId": "media_id", "Title": "title", "Url": "url"}
        properties = {ours: fields[theirs] for theirs, ours in names.items() if theirs in fields}
        return "message_received", {"message_type": message.msg_type, **properties}
    known = _EVENTS.get(message.event)
    if known is None:
        return f"{source}_{snake(message.event)}"[:_NAME_MAX], _others(fields)
    return known, _properties(message, fields)


def _properties(message: WeChatMessage, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of an event in the table."""
    key, properties = message.event_key, dict[str, Any]()
    match message.event:
        case "subscribe" if key.startswith("qrscene_"):
            properties = {"scene": key.removeprefix("qrscene_")}
        case "SCAN" if key:
            properties = {"scene": key}
        case "LOCATION":
            properties = _location(fields)
        case "CLICK":
            properties = {"key": key}
        case "VIEW":
            properties = {"url": key}
        case "TEMPLATESENDJOBFINISH":
            status = str(fields.get("Status", ""))
            properties = {"status": status, "template_message_id": message.report_msg_id}
        case event if event.startswith("subscribe_msg_"):
            properties = {"templates": _templates(fields)}
    return properties


def _location(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the position as numbers; what is none stays for the plan to refuse."""
    properties: dict[str, Any] = {}
    names = {"Latitude": "latitude", "Longitude": "longitude", "Precision": "precision_m"}
    for theirs, ours in names.items():
        if theirs in fields:
            try:
                properties[ours] = float(fields[theirs])
            except (TypeError, ValueError):
                properties[ours] = fields[theirs]
    return properties


def _templates(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a report; WeChat sends an object for one and a list for many."""
    wrapper = next((v for k, v in fields.items() if k.endswith("Event") and k != "Event"), fields)
    listed = wrapper.get("List", []) if isinstance(wrapper, dict) else []
    return [
        {ours: entry[theirs] for theirs, ours in _TEMPLATE_FIELDS.items() if theirs in entry}
        for entry in (listed if isinstance(listed, list) else [listed])
        if isinstance(entry, dict)
    ]


def _others(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what an event that we do not know says, under snake names."""
    common = {"ToUserName", "FromUserName", "CreateTime", "MsgType", "Event", "MsgId"}
    return {snake(key): value for key, value in fields.items() if key not in common}


def snake(name: str) -> str:
    """Return a name of WeChat's in snake case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
