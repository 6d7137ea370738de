"""Kinds of identifier, strongest first, and how a canonical user is spelled."""

from typing import Final

# Strongest first: the first kind that an event carries names its canonical user.
# openid is per appid, so its value is spelled "<appid>:<openid>".
KINDS: Final = (
    "user_id",
    "unionid",
    "openid",
    "phone_hmac",
    "email_hmac",
    "device_id",
    "anonymous_id",
)


def canonical_user(identities: dict[str, str]) -> str | None:
    """Return ``<kind>:<value>`` of the strongest identifier, ``None`` if there is none."""
    for kind in KINDS:
        value = identities.get(kind)
        if value:
            return f"{kind}:{value}"
    return None
