"""Since when, and by which event, each tag of a user has its value.

Packed in the state as ``[[time_ms, message id, numbers of tags], ...]``, one group for each
event that is still some tag's last change. A handful of events moves all tags of a user, so 20
tags take some 200 bytes. It follows what is written to the topic ``tags``.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from schemas.touches import TagChange
from streams.core.state.cells import NUMBER_BYTES, number_of

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[int, bytes, bytes]]).decode
_UUID: Final = 36
# The same events move the same tags, so that the same sets meet again and again.
_SETS: Final = 65_536


def moved(packed: bytes, changes: Iterable[TagChange]) -> bytes:
    """Return the packed provenance after these changes, of one user and in their order."""
    groups = _decode(packed) if packed else []
    newest = {change.tag: (change.message_id, change.time_ms) for change in changes}
    causes: dict[tuple[str, int], list[str]] = {}
    for tag, cause in newest.items():
        causes.setdefault(cause, []).append(tag)
    for (message_id, time_ms), tags in causes.items():
        numbers = _joined(tuple(tags))
        kept = [(when, short, _without(members, numbers)) for when, short, members in groups]
        groups = [group for group in kept if group[2]]
        groups.append((time_ms, _short(message_id), numbers))
    return _encode(groups)


def last_changes(packed: bytes, tags: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return ``(time_ms, message_id)`` of the last change of each tag that has one.

    The message id is empty where time alone moved the tag.
    """
    by_number = {
        number: (time_ms, _long(message_id))
        for time_ms, message_id, numbers in (_decode(packed) if packed else ())
        for number in _split(numbers)
    }
    numbers = {tag: number_of(tag) for tag in tags}
    return {tag: by_number[number] for tag, number in numbers.items() if number in by_number}


def _short(message_id: str) -> bytes:
    """Return a UUID as it is mostly spelled in 16 bytes, any other text as it is."""
    if len(message_id) == _UUID and message_id[8] == message_id[13] == message_id[18] == "-":
        digits = message_id.replace("-", "")
        try:
            short = b"u" + bytes.fromhex(digits)
        except ValueError:
            short = b""
        if _long(short) == message_id:
            return short
    return b"t" + message_id.encode()


def _long(short: bytes) -> str:
    if short[:1] != b"u":
        return short[1:].decode()
    digits = short[1:].hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@lru_cache(maxsize=_SETS)
def _joined(tags: tuple[str, ...]) -> bytes:
    return b"".join(number_of(tag) for tag in dict.fromkeys(tags))


@lru_cache(maxsize=_SETS)
def _without(members: bytes, numbers: bytes) -> bytes:
    gone = set(_split(numbers))
    return b"".join(number for number in _split(members) if number not in gone)


def _split(numbers: bytes) -> list[bytes]:
    return [numbers[at : at + NUMBER_BYTES] for at in range(0, len(numbers), NUMBER_BYTES)]
