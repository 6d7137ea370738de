"""Identifiers: phone and e-mail become keyed HMACs, placeholders are nobody.

The HMAC is SHA-256 over the normalised value, in hex: a phone as E.164 digits without
``+`` (8613800138000), an e-mail in lower case. The key makes it useless to others: the
space of phone numbers is small enough to hash wholly.
"""

import hmac
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal

from schemas.errors import ConfigInvalid
from schemas.identities import KINDS
from schemas.rejects import Reject

ID_MAX: Final = 256
PiiKind = Literal["phone", "email"]

# What clients send when they know nobody; one user of that name would swallow thousands.
PLACEHOLDERS: Final = frozenset(
    {
        "",
        "-",
        "0",
        "-1",
        "anonymous",
        "distinct_id",
        "distinctid",
        "email",
        "false",
        "guest",
        "id",
        "nan",
        "nil",
        "none",
        "not_authenticated",
        "null",
        "[object object]",
        "true",
        "undefined",
        "unknown",
        "user_id",
        "userid",
        "未登录",
        # Android's and iOS's answer without the user's consent.
        "00000000-0000-0000-0000-000000000000",
        "9774d56d682e549c",
        "02:00:00:00:00:00",
    }
)
_PII_KEYS: Final[dict[str, PiiKind]] = {
    **dict.fromkeys(
        (
            "phone",
            "mobile",
            "phonenumber",
            "mobilephone",
            "mobilenumber",
            "cellphone",
            "telephone",
            "tel",
            "userphone",
            "usermobile",
            "identitymobile",
            "手机",
            "手机号",
            "手机号码",
            "电话",
        ),
        "phone",
    ),
    **dict.fromkeys(
        ("email", "mail", "emailaddress", "useremail", "identityemail", "邮箱", "电子邮箱"),
        "email",
    ),
}
_HMAC: Final = re.compile(r"[0-9a-f]{64}")
_NOT_DIGIT: Final = re.compile(r"[^0-9]")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


@lru_cache(maxsize=2048)
def pii_kind(key: str) -> PiiKind | None:
    """Return what kind of personal value a property of this name holds, if any."""
    return _PII_KEYS.get(key.lower().replace("_", "").replace("-", "").replace("$", ""))


def normal_phone(value: object) -> str | None:
    """Return E.164 digits without ``+``, China (86) by default; ``None`` if it is no phone."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = unicodedata.normalize("NFKC", str(value)[:64]).strip()
    digits = _NOT_DIGIT.sub("", text)
    if text.startswith("+"):
        pass
    elif digits.startswith("00"):
        digits = digits[2:]
    elif not (digits.startswith("86") and len(digits) == 13):  # noqa: PLR2004 - 86 and 11 digits
        # A trunk 0 before a Chinese area code is not part of the number.
        digits = "86" + digits.removeprefix("0")
    return digits if 7 <= len(digits) <= 15 else None  # noqa: PLR2004 - E.164's bounds


def normal_email(value: object) -> str | None:
    """Return the address in lower case; ``None`` if it is none."""
    if not isinstance(value, str) or len(value) > ID_MAX:
        return None
    text = unicodedata.normalize("NFKC", value).strip().lower()
    return text if _EMAIL.fullmatch(text) else None


class Identifier:
    """Turns what a client says about its user into identities by kind."""

    def __init__(self, pii_key: bytes) -> None:
        if not pii_key:
            raise ConfigInvalid("SIYU_PII_KEY", "is empty", hint="`siyu up` makes one")
        self._key = pii_key

    def hmac_of(self, kind: PiiKind, value: object) -> str | None:
        """Return the hex HMAC of a phone or e-mail; ``None`` if it is not one."""
        plain = normal_phone(value) if kind == "phone" else normal_email(value)
        if plain is None:
            return None
        return hmac.digest(self._key, plain.encode(), "sha256").hex()

    def identities(self, raw: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]] | Reject:
        """Return (identities by kind, entries of no known kind), or why one is malformed."""
        identities: dict[str, str] = {}
        others: dict[str, Any] = {}
        for kind, value in raw.items():
            if value is None:
                continue
            if kind not in KINDS:
                if (pii := pii_kind(kind)) is None:
                    others[kind] = value
                elif hashed := self.hmac_of(pii, value):
                    identities.setdefault(f"{pii}_hmac", hashed)
                continue
            text = _text(kind, value)
            if isinstance(text, Reject):
                return text
            if text is not None:
                identities[kind] = text
        return identities, others


def _text(kind: str, value: object) -> str | Reject | None:
    """Return an identifier as it is kept; ``None`` for a placeholder."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return Reject("validate", "bad_identity", f"identities.{kind}: must be a string")
    text = str(value).strip()
    # "wx1:undefined" is an openid that the client did not have.
    bare = text.partition(":")[2] if kind == "openid" and ":" in text else text
    if bare.lower() in PLACEHOLDERS:
        return None
    return _misspelt(kind, text) or text


def _misspelt(kind: str, text: str) -> Reject | None:
    """Return why a text is no identifier of its kind."""
    if len(text) > ID_MAX:
        return Reject("validate", "too_long", f"identities.{kind}: over {ID_MAX} characters")
    if kind == "openid" and text.find(":") < 1:
        return Reject("validate", "bad_identity", "identities.openid: spell <appid>:<openid>")
    if kind.endswith("_hmac") and not _HMAC.fullmatch(text):
        return Reject("validate", "bad_identity", f"identities.{kind}: must be 64 hex digits")
    return None
