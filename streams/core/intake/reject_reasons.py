"""Reasons of rejects: one table with each one's remedy, and how pydantic's findings map to it."""

import re
from typing import Final

from pydantic import ValidationError

from schemas.rejects import Reject

REASONS: Final = {
    "no_envelope": "send through siyu collect or the producer, not to the topic by hand",
    "duplicate_message_id": "nothing: it was accepted before",
    "fault": "report it: the validator itself failed, see the worker's log",
    "not_utf8": "send UTF-8",
    "not_json": "send one JSON object",
    "not_xml": "send one well-formed XML message",
    "not_object": "send an object, not a list or a bare value",
    "doctype": "send XML without DTD and entities",
    "encrypted": "decrypt before storing: the account's AES key is missing or wrong",
    "lone_surrogate": "the client cut a string inside an emoji: cut by code points",
    "missing_field": "send the field that the detail names",
    "bad_field": "mend the type of the field that the detail names",
    "bad_time": "send ISO 8601 (Segment) or epoch milliseconds (Sensors)",
    "bad_property": "mend the property, or the event in the tracking plan (SIYU_PLAN)",
    "unplanned_event": "add the event to the tracking plan, or let the plan's defaults mark it",
    "bad_identity": "mend the identifier that the detail names",
    "unsupported_type": "send one of the types that the door knows",
    "source_not_allowed": "use a write key of the source that may send this event",
    "too_long": "shorten it: names 128, ids and keys 256, strings 8192 characters",
    "too_deep": "flatten it: at most 16 levels",
    "too_many_properties": "send at most 256 properties or traits",
    "number_out_of_range": "send integers of 64 bits, finite floats; long ids as strings",
    "not_a_number": "leave out NaN",
    "nul_character": "strip U+0000 from strings",
    "no_identifier": "send userId, anonymousId or an entry in identities that is not a placeholder",
}

_BY_TYPE: Final = {
    "missing": "missing_field",
    "model_type": "not_object",
    "model_attributes_type": "not_object",
    "string_too_long": "too_long",
    "recursion_loop": "too_deep",
    "int_parsing_size": "number_out_of_range",
    "finite_number": "number_out_of_range",
}
# Where it broke differs from item to item, and would split a fingerprint.
_POSITION: Final = re.compile(r" at line \d+ column \d+")


def reject_of(error: ValidationError, *, root: str = "") -> Reject:
    """Return the reject of pydantic's first finding; ``root`` is put before its path."""
    first = error.errors(include_url=False, include_input=False)[0]
    path = ".".join(str(step)[:64] for step in ((root, *first["loc"]) if root else first["loc"]))
    kind, message = first["type"], _POSITION.sub("", first["msg"])
    if kind == "json_invalid":
        return json_reject(message)
    if root:
        return Reject("validate", "bad_property", f"{path}: {message}")
    reason = _BY_TYPE.get(kind, "bad_field")
    if reason == "not_object" and not path:
        return Reject("parse", reason, message)
    if kind.startswith(("datetime", "date_")) or path in {"time", "_flush_time", "CreateTime"}:
        reason = "bad_time" if kind != "missing" else reason
    elif kind == "literal_error":
        reason = "unsupported_type"
    return Reject("validate", reason, f"{path}: {message}")


def json_reject(message: str) -> Reject:
    """Return the reject that the JSON parser's words mean."""
    message = _POSITION.sub("", message)
    reason = "not_json"
    if "recursion" in message:
        reason = "too_deep"
    elif "surrogate" in message or "end of hex escape" in message:
        reason = "lone_surrogate"
    elif "unicode" in message:
        reason = "not_utf8"
    elif "number out of range" in message:
        reason = "number_out_of_range"
    return Reject("parse", reason, message)
