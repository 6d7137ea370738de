"""WeCom's (企业微信) callbacks of external contacts: always sealed, the corpid is the receiver.

Source of the wire facts: WeCom's documents on callbacks and on "客户联系" events.
"""

from collections.abc import Mapping
from typing import Final

from schemas.rejects import Reject
from schemas.sources import WeComAccount
from streams.sources.records import Arrival, Record, Refusal, accept, reject
from streams.sources.wechat.crypto import decrypt, fields_of, fits

_MAX_KEY_BYTES: Final = 256
_WRONG_SIGNATURE: Final = Refusal(
    403, "wrong_signature", "not signed with this company's token; nothing is kept"
)


def verify_url(corpid: str, account: WeComAccount, query: Mapping[str, str]) -> bytes | Refusal:
    """Return what to answer to WeCom's check of the callback URL: what ``echostr`` seals."""
    sealed = query.get("echostr", "")
    if not _signed(account, query, sealed):
        return _WRONG_SIGNATURE
    opened = decrypt(account.aes_keys, corpid, sealed)
    if isinstance(opened, Reject):
        return Refusal(403, opened.reason, f"echostr: {opened.detail}")
    return opened[0]


def read(
    corpid: str, account: WeComAccount, query: Mapping[str, str], body: bytes, arrival: Arrival
) -> Record | Refusal:
    """Return the record of one callback, or a refusal if WeCom did not sign it."""
    envelope = arrival.envelope("wecom", "wecom", corpid)
    fields = fields_of(body)
    # Unlike WeChat's there is no signature beside the sealed text: what has none is a stranger's.
    if isinstance(fields, Reject) or not _signed(account, query, fields.get("Encrypt", "")):
        return _WRONG_SIGNATURE
    opened = decrypt(account.aes_keys, corpid, fields["Encrypt"])
    if isinstance(opened, Reject):
        return reject(opened, envelope, body)
    message, _ = opened
    inner = fields_of(message)
    if isinstance(inner, Reject):
        return reject(inner, envelope, message)
    contact = inner.get("ExternalUserID") or inner.get("FromUserName", "")
    return accept(message, envelope, f"openid:{corpid}:{contact}".encode()[:_MAX_KEY_BYTES])


def _signed(account: WeComAccount, query: Mapping[str, str], sealed: str) -> bool:
    parts = [account.token.get_secret_value(), query.get("timestamp", ""), query.get("nonce", "")]
    return bool(sealed) and fits(query.get("msg_signature", ""), [*parts, sealed])
