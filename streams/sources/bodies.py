"""Bytes of a request: inflate under a cap, and cut JSON into the exact bytes of its parts."""

import re
import zlib
from typing import Final

import msgspec

from schemas.rejects import Reject

GZIP_MAGIC: Final = b"\x1f\x8b"
MAX_ITEMS: Final = 10_000
# Each member copies what follows it: thousands of empty ones would cost quadratic time.
_MAX_GZIP_MEMBERS: Final = 16
# The slow path is Python: on more than this it would hold the event loop too long.
_CUT_BY_HAND_MAX_BYTES: Final = 1024 * 1024

# Possessive, so that a broken string cannot make the match backtrack.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
_NAME: Final = re.compile(rb'\s*("(?:[^"\\]++|\\.)*+")\s*:', re.DOTALL)
_SPACE: Final = b" \t\r\n"
_CLOSES: Final = {ord("}"): ord("{"), ord("]"): ord("[")}

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


def inflate(body: bytes, *, cap_bytes: int) -> bytes | Reject:
    """Return what a gzip body holds; never holds more than ``cap_bytes`` and a chunk of it."""
    parts: list[bytes] = []
    room_bytes = cap_bytes
    while body:
        if len(parts) == _MAX_GZIP_MEMBERS:
            return Reject("collect", "bad_gzip", f"over {_MAX_GZIP_MEMBERS} gzip members")
        stream = zlib.decompressobj(31)
        try:
            # One byte over the cap tells a full body from a too large one.
            part = stream.decompress(body, room_bytes + 1)
        except zlib.error as broken:
            return Reject("collect", "bad_gzip", str(broken))
        room_bytes -= len(part)
        if room_bytes < 0:
            return Reject("collect", "body_too_large", f"over {cap_bytes} bytes when inflated")
        if not stream.eof:
            return Reject("collect", "bad_gzip", "the gzip data end too early")
        parts.append(part)
        body = stream.unused_data
    return b"".join(parts)


def cut_array(body: bytes) -> list[bytes] | None:
    """Return the bytes of each item of a JSON array; ``None`` if it is not one.

    An item that is not valid JSON itself (too deep, a lone surrogate, a raw NUL) is cut out
    like any other, so that it does not take its neighbours down.
    """
    try:
        return [bytes(item) for item in _decode_array(body)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _cut_by_hand(body, b"[")


def cut_object(body: bytes) -> dict[str, bytes] | None:
    """Return the bytes of each member of a JSON object; ``None`` if it is not one."""
    try:
        return {name: bytes(value) for name, value in _decode_object(body).items()}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        members = _cut_by_hand(body, b"{")
    if members is None:
        return None
    values: dict[str, bytes] = {}
    for member in members:
        name = _NAME.match(member)
        if name is None:
            return None
        values[text(name[1]) or ""] = member[name.end() :].strip(_SPACE)
    return values


def text(value: bytes | None) -> str | None:
    """Return a JSON string or number as text; ``None`` for all else and for broken strings."""
    if not value:
        return None
    if value[0] != ord('"'):
        # What was cut out by hand only begins like a number.
        return value.decode() if value[0] in b"-0123456789" and value.isascii() else None
    try:
        return _decode_text(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _cut_by_hand(body: bytes, opener: bytes) -> list[bytes] | None:
    """Cut at the separators of the outermost level, by brackets and strings alone."""
    body = body.strip(_SPACE)
    if len(body) > _CUT_BY_HAND_MAX_BYTES or not body.startswith(opener):
        return None
    parts: list[bytes] = []
    stack = bytearray()
    start = 1
    for token in _TOKEN.finditer(body):
        mark = body[token.start()]
        if mark in b"[{":
            stack.append(mark)
        elif mark in _CLOSES:
            if not stack or stack.pop() != _CLOSES[mark]:
                return None
            if not stack:
                parts.append(body[start : token.start()].strip(_SPACE))
                return parts if token.end() == len(body) and all(parts) else None
        elif mark == ord(",") and len(stack) == 1:
            parts.append(body[start : token.start()].strip(_SPACE))
            start = token.end()
        elif mark == ord('"') and token.end() - token.start() == 1:
            return None  # a string that never ends
    return None
