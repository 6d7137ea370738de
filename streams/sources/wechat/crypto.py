"""WeChat's and WeCom's envelopes: signatures, AES, and the fields of XML or JSON messages.

Sources of the wire facts: the official documents on message push and its encryption.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from typing import Final
from xml.parsers import expat

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pydantic import SecretStr

from schemas.errors import ConfigInvalid, PartMissing
from schemas.rejects import Reject
from schemas.sources import Sources
from streams.sources.bodies import cut_object, text

MAX_BODY_BYTES: Final = 64 * 1024
_AES_KEY_CHARS: Final = 43
_FIELD_DEPTH: Final = 2  # the root and its child
_BLOCK_BYTES: Final = 32  # WeChat pads to 32, not to AES's own 16
_SAFE_EXPAT: Final = (2, 4, 1)  # the first with limits on entity expansion


def check(sources: Sources) -> None:
    """Raise ``ConfigInvalid`` for a wrong AES key, ``PartMissing`` for an unsafe expat."""
    if expat.version_info < _SAFE_EXPAT:
        raise PartMissing("expat", f"{expat.EXPAT_VERSION} is unsafe", remedy="update Python")
    keys = [(f"wechat.{name}", account.aes_keys) for name, account in sources.wechat.items()]
    keys += [(f"wecom.{name}", account.aes_keys) for name, account in sources.wecom.items()]
    for account, encoded in keys:
        for number, key in enumerate(encoded):
            if _aes_key(key.get_secret_value()) is None:
                where = f"{account}.aes_keys.{number}"
                raise ConfigInvalid(where, "not an EncodingAESKey", hint="43 letters and digits")


def signature(parts: Iterable[str]) -> str:
    """Return WeChat's signature: SHA-1 of the sorted parts, in hexadecimal."""
    return hashlib.sha1(
        "".join(sorted(parts)).encode("utf-8", "replace"), usedforsecurity=False
    ).hexdigest()


def fits(claimed: str, parts: Iterable[str]) -> bool:
    """Tell, in constant time, if a signature is that of the parts."""
    return hmac.compare_digest(signature(parts).encode(), claimed.encode("utf-8", "replace"))


def decrypt(
    keys: Sequence[SecretStr], receiver: str, encrypted: str
) -> tuple[bytes, SecretStr] | Reject:
    """Return the message of an ``Encrypt`` element and the first key that fits it.

    ``receiver`` stands at the end of what is sealed: the appid, or WeCom's corpid.
    """
    try:
        sealed = base64.b64decode(encrypted, validate=True)
    except (binascii.Error, ValueError) as broken:
        return Reject("collect", "bad_base64", f"Encrypt: {broken}")
    if not sealed or len(sealed) % 16:
        return Reject("collect", "undecryptable", f"Encrypt has {len(sealed)} bytes")
    for encoded in keys:
        key = _aes_key(encoded.get_secret_value())
        message = _open(key, sealed, receiver.encode()) if key else None
        if message is not None:
            return message, encoded
    return Reject("collect", "undecryptable", "no AES key of this account fits the message")


def encrypt(key: SecretStr, receiver: str, message: bytes) -> str:
    """Return the ``Encrypt`` element of a message, as WeChat expects it in a reply."""
    aes = _aes_key(key.get_secret_value())
    if aes is None:
        raise ConfigInvalid(receiver, "not an EncodingAESKey", hint="43 letters and digits")
    size = len(message).to_bytes(4, "big")
    plain = secrets.token_bytes(16) + size + message + receiver.encode()
    padding = _BLOCK_BYTES - len(plain) % _BLOCK_BYTES
    sealer = Cipher(algorithms.AES(aes), modes.CBC(aes[:16])).encryptor()
    sealed = sealer.update(plain + bytes([padding]) * padding) + sealer.finalize()
    return base64.b64encode(sealed).decode()


def fields_of(message: bytes) -> dict[str, str] | Reject:
    """Return the text of a message's outermost fields; it is XML, or JSON by its first byte."""
    if len(message) > MAX_BODY_BYTES:
        return Reject("collect", "body_too_large", f"over {MAX_BODY_BYTES} bytes")
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

    # The encoding is set here, so that the message cannot declare another one.
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


def _open(key: bytes, sealed: bytes, receiver: bytes) -> bytes | None:
    """Return the message: 16 random bytes, length, message, receiver, padding; else ``None``."""
    opener = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    plain = opener.update(sealed) + opener.finalize()
    padding = plain[-1]
    if not 1 <= padding <= _BLOCK_BYTES or plain[-padding:] != bytes([padding]) * padding:
        return None
    plain = plain[:-padding]
    end = 20 + int.from_bytes(plain[16:20], "big")
    if len(plain) < end or plain[end:] != receiver:
        return None
    return plain[20:end]


def _aes_key(encoded: str) -> bytes | None:
    if len(encoded) != _AES_KEY_CHARS:
        return None
    try:
        return base64.b64decode(encoded + "=", validate=True)
    except (binascii.Error, ValueError):
        return None
