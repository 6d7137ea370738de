"""What somebody types to name a user, and the identities that it may stand for."""

import re
from typing import Final

from schemas.identities import KINDS
from streams.core.intake.identify import Identifier

# In the order of KINDS; a bare phone or e-mail is not among them: it is personal, and is
# asked for in the body of a request, never in its path.
_BARE: Final = ("user_id", "unionid", "device_id", "anonymous_id")
_HMAC: Final = re.compile(r"[0-9a-f]{64}")
PERSONAL: Final = ("phone", "email")


def candidates(identifier: str) -> list[str]:
    """Return what ``KIND:VALUE``, or a bare value, may stand for, as ``kind:value``."""
    kind, colon, value = identifier.partition(":")
    if colon and kind in KINDS:
        return [identifier] if value else []
    if _HMAC.fullmatch(identifier):
        return [f"phone_hmac:{identifier}", f"email_hmac:{identifier}"]
    names = [f"{bare}:{identifier}" for bare in _BARE] if identifier else []
    # An openid is spelled with its appid: wx1234:oABC.
    return [*names, f"openid:{identifier}"] if colon and value else names


def from_body(body: object, identifier: Identifier | None) -> str | None:
    """Return the identifier of a body, ``{KIND: VALUE}``; ``None`` if it holds none.

    A ``phone`` or an ``email`` in clear becomes its keyed HMAC here and goes no further.
    """
    if not isinstance(body, dict) or len(body) != 1:
        return None
    ((kind, value),) = body.items()
    if kind in PERSONAL:
        hashed = identifier.hmac_of(kind, value) if identifier is not None else None
        return f"{kind}_hmac:{hashed}" if hashed else None
    if not isinstance(value, str) or not value:
        return None
    if kind == "identifier":
        return value
    return f"{kind}:{value}" if kind in KINDS else None
