"""Keys of joins, counts and re-entries: the values of some paths of an event, as one text."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from schemas.events import Event
from streams.core.language.compile import Getter

MAX_KEY: Final = 64


def key_of(getters: Sequence[Getter], event: Event) -> str | None:
    """Return the text of an event's values; ``None`` if one is missing or is not plain.

    12 and "12" are one key: sources differ in how they write an id.
    """
    key = ""
    for i, get in enumerate(getters):
        value = get(event)
        if value is None or isinstance(value, dict | list):
            return None
        key = f"{key}\x1f{value}" if i else str(value)
    # State stays small whatever an event brings.
    return key if len(key) <= MAX_KEY else blake2b(key.encode(), digest_size=16).hexdigest()
