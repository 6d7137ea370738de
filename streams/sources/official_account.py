"""WeChat's callback of an official account: signatures, AES envelopes, safe XML.

Sources of the wire facts: the official documents on message push and its encryption.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final
from xml.parsers import expat

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from schemas.errors import ConfigInvalid, PartMissing
from schemas.rejects import Reject
from schemas.sources import Sources, WeChatAccount
from streams.sources.bodies import cut_object, text
from streams.sources.doors import Arrival, Record, Refusal, accept, reject

MAX_BODY_BYTES: Final = 64 * 1024
_AES_KEY_CHARS: Final = 43
_FIELD_DEPTH: Final = 2  # the root and its child
_MAX_KEY_BYTES: Final = 256
_BLOCK_BYTES: Final = 32  # WeChat pads to 32, not to AES's own 16
_SAFE_EXPAT: Final = (2, 4, 1)  # the first with limits on entity expansion


def check(sources: Sources) -> None:
    """Raise ``ConfigInvalid`` for a wrong AES key, ``PartMissing`` for an unsafe expat."""
    if expat.version_info < _SAFE_EXPAT:
        raise PartMissing("expat", f"{expat.EXPAT_VERSION} is unsafe", remedy="update Python")
    for appid, account in sources.wechat.items():
        for number, key in enumerate(account.aes_keys):
            if _aes_key(key.get_secret_value()) is None:
                where = f"wechat.{appid}.aes_keys.{number}"
                raise ConfigInvalid(where, "not an EncodingAESKey", hint="43 letters and digits")


def verify_url(account: WeChatAccount, query: Mapping[str, str]) -> str | Refusal:
    """Return what to answer to WeChat's check of the callback URL."""
    if not _signed(account, query):
        return _wrong_signature()
    return query.get("echostr", "")


def read(
    appid: str, account: WeChatAccount, query: Mapping[str, str], body: bytes, arrival: Arrival
) -> list[Record] | Refusal:
    """Return the record of one pushed message, or a refusal if WeChat did not sign it."""
    envelope = arrival.envelope("wechat", "official_account", appid)
    encrypted = query.get("encrypt_type", "raw") == "aes"
    # The outer signature does not cover the body: an account with AES may insist on it.
    if not encrypted and (account.aes_only or not _signed(account, query)):
        return _wrong_signature()
    message = _unsealed(appid, account, query, body) if encrypted else _capped(body)
    if isinstance(message, Refusal):
        return message
    if isinstance(message, Reject):
        return [reject(message, envelope, body)]
    fields = _fields(message)
    if isinstance(fields, Reject):
        return [reject(fields, envelope, message)]
    key = f"{appid}:{fields.get('FromUserName', '')}".encode()[:_MAX_KEY_BYTES]
    return [accept(message, envelope, key)]


def signature(parts: Iterable[str]) -> str:
    """Return WeChat's signature: SHA-1 of the sorted parts, in hexadecimal."""
    return hashlib.sha1(
        "".join(sorted(parts)).encode("utf-8", "replace"), usedforsecurity=False
    ).hexdigest()


def decrypt(keys: Iterable[str], appid: str, encrypted: str) -> bytes | Reject:
    """Return the message of an ``Encrypt`` element, by the first key that fits it."""
    try:
        sealed = base64.b64decode(encrypted, validate=True)
    except (binascii.Error, ValueError) as broken:
        return Reject("collect", "bad_base64", f"Encrypt: {broken}")
    if not sealed or len(sealed) % 16:
        return Reject("collect", "undecryptable", f"Encrypt has {len(sealed)} bytes")
    for encoded in keys:
        key = _aes_key(encoded)
        message = _open(key, sealed, appid.encode()) if key else None
        if message is not None:
            return message
    return Reject("collect", "undecryptable", "no AES key of this account fits the message")


def _unsealed(
    appid: str, account: WeChatAccount, query: Mapping[str, str], body: bytes
) -> bytes | Reject | Refusal:
    """Return the message inside an AES envelope, once it is sure that WeChat sealed it."""
    capped = _capped(body)
    fields = capped if isinstance(capped, Reject) else _fields(capped)
    if not isinstance(fields, Reject) and "Encrypt" not in fields:
        fields = Reject("collect", "no_encrypt", "encrypt_type is aes, but there is no Encrypt")
    if isinstance(fields, Reject):
        # What should be verified cannot be read; the outer signature still tells friend from foe.
        return fields if _signed(account, query) else _wrong_signature()
    if not _signed(account, query, fields["Encrypt"]):
        return _wrong_signature()
    keys = [key.get_secret_value() for key in account.aes_keys]
    return decrypt(keys, appid, fields["Encrypt"])


def _signed(account: WeChatAccount, query: Mapping[str, str], sealed: str | None = None) -> bool:
    """Tell if WeChat signed the request; with ``sealed``, if it signed that ``Encrypt``."""
    parts = [account.token.get_secret_value(), query.get("timestamp", ""), query.get("nonce", "")]
    if sealed is None:
        given = query.get("signature", "")
    else:
        given = query.get("msg_signature", "")
        parts.append(sealed)
    return hmac.compare_digest(signature(parts).encode(), given.encode("utf-8", "replace"))


def _wrong_signature() -> Refusal:
    return Refusal(403, "wrong_signature", "not signed with this account's token; nothing is kept")


def _capped(body: bytes) -> bytes | Reject:
    if len(body) <= MAX_BODY_BYTES:
        return body
    return Reject("collect", "body_too_large", f"over {MAX_BODY_BYTES} bytes")


def _fields(message: bytes) -> dict[str, str] | Reject:
    """Return the text of a message's outermost fields; it is XML, or JSON by its first byte."""
    if message.lstrip()[:1] != b"{":
        return _xml_fields(message)
    members = cut_object(message)
    if members is None:
        return Reject("collect", "not_json", "the message is not a JSON object")
    return {name: text(value) or "" for name, value in members.items()}


def _xml_fields(message: bytes) -> dict[str, str] | Reject:
    """Return the text of the root's children; no tree is built and no DTD is read."""
    fields: dict[str, str] = {}
    path: list[str] = []

    def enter(tag: str, _: dict[str, str]) -> None:
        path.append(tag)
        if len(path) == _FIELD_DEPTH:
            fields[tag] = ""

    def take(data: str) -> None:
        if len(path) == _FIELD_DEPTH:
            fields[path[-1]] += data

    def refuse_doctype(*_: object) -> None:
        raise _DoctypeError

    # The encoding is given, so that the message cannot declare another one.
    parser = expat.ParserCreate(encoding="utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = enter
    parser.EndElementHandler = lambda _: path.pop()
    parser.CharacterDataHandler = take
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(message, True)  # noqa: FBT003 - expat takes it by position only
    except _DoctypeError:
        return Reject("collect", "bad_xml", "a DOCTYPE is not allowed")
    except expat.ExpatError as broken:
        return Reject("collect", "bad_xml", str(broken))
    return fields


class _DoctypeError(Exception):
    """A message declares a DTD, which no message of WeChat does."""


def _open(key: bytes, sealed: bytes, appid: bytes) -> bytes | None:
    """Return the message: 16 random bytes, length, message, appid, padding; ``None`` if not."""
    opener = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    plain = opener.update(sealed) + opener.finalize()
    padding = plain[-1]
    if not 1 <= padding <= _BLOCK_BYTES or plain[-padding:] != bytes([padding]) * padding:
        return None
    plain = plain[:-padding]
    end = 20 + int.from_bytes(plain[16:20], "big")
    if len(plain) < end or plain[end:] != appid:
        return None
    return plain[20:end]


def _aes_key(encoded: str) -> bytes | None:
    if len(encoded) != _AES_KEY_CHARS:
        return None
    try:
        return base64.b64decode(encoded + "=", validate=True)
    except (binascii.Error, ValueError):
        return None
