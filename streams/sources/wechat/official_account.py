"""WeChat's push of an official account or a mini-program, plain or sealed; it may be replied to.

Sources of the wire facts: the official documents on message push and its encryption.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from schemas.rejects import Reject
from schemas.sources import WeChatAccount
from streams.sources.records import Arrival, Record, Refusal, accept, reject
from streams.sources.wechat.crypto import decrypt, fields_of, fits

_MAX_KEY_BYTES: Final = 256
_WRONG_SIGNATURE: Final = Refusal(
    403, "wrong_signature", "not signed with this account's token; nothing is kept"
)


@dataclass(frozen=True, slots=True)
class Pushed:
    """One pushed message: its record, and what a reply needs to know (``None`` if unreadable)."""

    record: Record
    fields: Mapping[str, str] | None = None
    is_json: bool = False
    key: SecretStr | None = None


def verify_url(account: WeChatAccount, query: Mapping[str, str]) -> str | Refusal:
    """Return what to answer to WeChat's check of the callback URL."""
    if not _signed(account, query):
        return _WRONG_SIGNATURE
    return query.get("echostr", "")


def read(
    appid: str, account: WeChatAccount, query: Mapping[str, str], body: bytes, arrival: Arrival
) -> Pushed | Refusal:
    """Return one pushed message, or a refusal if WeChat did not sign it."""
    envelope = arrival.envelope("wechat", account.source, appid)
    sealed = query.get("encrypt_type", "raw") == "aes"
    # The outer signature does not cover the body: an account with AES may insist on it.
    if not sealed and (account.aes_only or not _signed(account, query)):
        return _WRONG_SIGNATURE
    opened = _unsealed(appid, account, query, body) if sealed else (body, None)
    if isinstance(opened, Refusal):
        return opened
    if isinstance(opened, Reject):
        return Pushed(reject(opened, envelope, body))
    message, aes_key = opened
    fields = fields_of(message)
    if isinstance(fields, Reject):
        return Pushed(reject(fields, envelope, message))
    key = f"openid:{appid}:{fields.get('FromUserName', '')}".encode()[:_MAX_KEY_BYTES]
    is_json = message.lstrip()[:1] == b"{"
    return Pushed(accept(message, envelope, key), fields, is_json, aes_key)


def _unsealed(
    appid: str, account: WeChatAccount, query: Mapping[str, str], body: bytes
) -> tuple[bytes, SecretStr] | Reject | Refusal:
    """Return the message of an AES envelope, once it is sure that WeChat sealed it, and the key."""
    fields = fields_of(body)
    if not isinstance(fields, Reject) and "Encrypt" not in fields:
        fields = Reject("collect", "no_encrypt", "encrypt_type is aes, but there is no Encrypt")
    if isinstance(fields, Reject):
        # What should be verified cannot be read; the outer signature still tells friend from foe.
        return fields if _signed(account, query) else _WRONG_SIGNATURE
    if not _signed(account, query, fields["Encrypt"]):
        return _WRONG_SIGNATURE
    return decrypt(account.aes_keys, appid, fields["Encrypt"])


def _signed(account: WeChatAccount, query: Mapping[str, str], sealed: str | None = None) -> bool:
    """Tell if WeChat signed the request; with ``sealed``, if it signed that ``Encrypt``."""
    parts = [account.token.get_secret_value(), query.get("timestamp", ""), query.get("nonce", "")]
    if sealed is None:
        return fits(query.get("signature", ""), parts)
    return fits(query.get("msg_signature", ""), [*parts, sealed])
