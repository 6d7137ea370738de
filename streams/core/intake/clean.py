"""Cleaning: limits on client data, and no plain phone or e-mail in it."""

from math import isfinite, isnan
from typing import Any, Final

from schemas.rejects import Reject
from streams.core.intake.identify import ID_MAX, Identifier, pii_kind

MAX_DEPTH: Final = 16
MAX_PROPERTIES: Final = 256
MAX_STRING: Final = 8192
_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64 - 1
# (reason, path from the value upwards)
_Problem = tuple[str, list[str]]


class Cleaner:
    """Checks client objects and replaces what is personal, in place."""

    def __init__(self, identifier: Identifier) -> None:
        self._identifier = identifier

    def clean(self, name: str, tree: dict[str, Any]) -> Reject | None:
        """Clean one of an event's objects; return why it cannot be kept, if so.

        A phone or e-mail under a key that names one becomes ``phone_hmac`` or ``email_hmac``
        beside it; what is under such a key and is neither is removed.
        """
        if len(tree) > MAX_PROPERTIES:
            return Reject("validate", "too_many_properties", f"{name}: over {MAX_PROPERTIES}")
        problem = self._dict(tree, 1)
        if problem is None:
            return None
        reason, path = problem
        return Reject("validate", reason, ".".join((name, *reversed(path))))

    def _dict(self, tree: dict[str, Any], depth: int) -> _Problem | None:
        if depth > MAX_DEPTH:
            return "too_deep", []
        personal: list[str] | None = None
        for key, value in tree.items():
            if len(key) > ID_MAX:
                return "too_long", [key[:32]]
            if pii_kind(key) is not None:
                personal = [*personal, key] if personal else [key]
            kind = type(value)
            # The common case stays in this loop: one call per value would double the cost.
            if kind is str:
                if len(value) > MAX_STRING:
                    return "too_long", [key[:64]]
            elif kind is not bool and (problem := self._value(value, depth)) is not None:
                problem[1].append(key[:64])
                return problem
        if personal:
            for key in personal:
                self._hide(tree, key)
        return None

    def _value(self, value: Any, depth: int) -> _Problem | None:  # noqa: ANN401 - any JSON value
        if isinstance(value, dict):
            return self._dict(value, depth + 1)
        if isinstance(value, list):
            return self._list(value, depth + 1)
        reason = _scalar_problem(value)
        return (reason, []) if reason else None

    def _list(self, values: list[Any], depth: int) -> _Problem | None:
        if depth > MAX_DEPTH:
            return "too_deep", []
        for value in values:
            if (problem := self._value(value, depth)) is not None:
                # The position is left out: items that fail alike share a fingerprint.
                problem[1].append("[]")
                return problem
        return None

    def _hide(self, tree: dict[str, Any], key: str) -> None:
        value = tree[key]
        # `mobile: true` is a browser's hint, not a number to call.
        if value is None or isinstance(value, bool | float):
            return
        del tree[key]
        if (kind := pii_kind(key)) and (hashed := self._identifier.hmac_of(kind, value)):
            tree.setdefault(f"{kind}_hmac", hashed)


def _scalar_problem(value: object) -> str | None:
    """Return why a string or number cannot be kept."""
    if isinstance(value, str):
        return "too_long" if len(value) > MAX_STRING else None
    if isinstance(value, int):
        return None if _MIN_INT <= value <= _MAX_INT else "number_out_of_range"
    if isinstance(value, float) and not isfinite(value):
        return "not_a_number" if isnan(value) else "number_out_of_range"
    return None


def has_nul(tree: object) -> bool:
    """Return whether any key or string of a JSON value holds U+0000."""
    if isinstance(tree, str):
        return "\0" in tree
    if isinstance(tree, dict):
        return any("\0" in key or has_nul(value) for key, value in tree.items())
    return isinstance(tree, list) and any(has_nul(value) for value in tree)
