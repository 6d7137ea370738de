"""What a door's parser hands on: one item in our terms, not yet cleaned or identified."""

from typing import Any, Final

import msgspec

from schemas.events import EventType

MESSAGE_ID_HEX: Final = 32


class ParsedItem(msgspec.Struct):
    """One parsed item; the dicts are its own, so that cleaning may change them in place.

    ``identities`` maps a kind of ``schemas.identities``, or plain ``phone`` and
    ``email``, to whatever the client sent. Times are epoch milliseconds.
    """

    message_id: str
    type: EventType
    event: str
    original_ms: int | None
    sent_ms: int | None
    identities: dict[str, Any]
    context: dict[str, Any]
    properties: dict[str, Any]
    traits: dict[str, Any]
