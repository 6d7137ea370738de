"""What a tag may hold of an event's value: plain values, keys, amounts as whole numbers."""

from typing import Any, Final

import msgspec

Value = str | int | float | bool | list[str] | dict[str, Any] | None
# Sums are kept as whole ten-thousandths, so that they do not depend on the order.
SCALE: Final = 10_000
MAX_AMOUNT: Final = 10**12
MAX_TEXT: Final = 256
MAX_KEY: Final = 64
_MAX_INT: Final = 2**63 - 1
_json = msgspec.json.Encoder().encode


def plain(raw: object) -> Value:
    """Return a value small enough to hold; ``None`` for lists, mappings and nothing."""
    if isinstance(raw, str):
        return raw[:MAX_TEXT]
    if isinstance(raw, bool) or type(raw) is float:
        return raw
    if isinstance(raw, int):
        return raw if -_MAX_INT <= raw <= _MAX_INT else float(raw)
    return None


def key_text(raw: object) -> str | None:
    """Return a value as a key, 64 characters at most; ``None`` for lists, mappings, nothing."""
    if isinstance(raw, str):
        return raw[:MAX_KEY]
    if isinstance(raw, bool | int | float):
        return str(_json(raw) if abs(raw) < 2**63 else _json(float(raw)), "ascii")
    return None


def scaled(raw: object) -> int | None:
    """Return a number as ten-thousandths; ``None`` if it is none."""
    if type(raw) is float and -MAX_AMOUNT < raw < MAX_AMOUNT:
        return round(raw * SCALE)
    if type(raw) is int or type(raw) is float:
        return round(max(-MAX_AMOUNT, min(MAX_AMOUNT, raw)) * SCALE)
    return None


def unscaled(total: int) -> int | float:
    """Return the number of so many ten-thousandths."""
    return total / SCALE if total % SCALE else total // SCALE
