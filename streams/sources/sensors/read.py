"""Sensors Data's ``/sa``: form fields in base64, and nothing that is sent there is lost.

Its SDKs forget what they sent on nearly any answer, so whatever cannot be read is
stored as a reject and answered like the rest.
"""

import base64
import binascii
from collections.abc import Mapping
from operator import mul
from typing import Final
from urllib.parse import unquote_to_bytes

from schemas.rejects import Reject
from streams.sources.bodies import GZIP_MAGIC, MAX_ITEMS, cut_array, cut_object, inflate, text
from streams.sources.keys import Account, Keys
from streams.sources.records import Arrival, Record, accept, reject

# 9 and 13 mark payloads under the vendor's public-key encryption.
_ENCRYPTED: Final = (b"9", b"13")
_KEY_FIELDS: Final = ("token", "project")
_HASH_CHUNK: Final = 4096
_POWERS: Final = [pow(31, _HASH_CHUNK - 1 - place, 2**32) for place in range(_HASH_CHUNK)]


def read(
    body: bytes, query: bytes, arrival: Arrival, keys: Keys, *, cap_bytes: int
) -> tuple[list[Record], Account | None]:
    """Return the records of one request (one for each event, or one reject) and its account.

    The account is ``None`` where nobody is known by the key.
    """
    account = find_account(query, body, keys)
    original = body or query
    items = _items(body, query, cap_bytes=cap_bytes)
    if isinstance(items, Reject):
        return [whole(items, original, arrival, account)], account
    account = account or _account_of_item(items, keys)
    if account is None:
        named = sorted({name for name in _keys(query, body) if name})
        why = Reject("collect", "unknown_key", f"no write key is called {' or '.join(named)!r}")
        return [whole(why, original, arrival, None)], None
    records = [
        accept(item, arrival.envelope("sensors", account.source, account.name, item=number))
        for number, item in enumerate(items)
    ]
    return records, account


def whole(why: Reject, original: bytes, arrival: Arrival, account: Account | None) -> Record:
    """Return the reject of a whole request, with its bytes as received."""
    # Nobody is known by an unknown key: the account stays empty, the source is the door's usual.
    source, name = (account.source, account.name) if account else ("mini_program", "")
    return reject(why, arrival.envelope("sensors", source, name), original)


def find_account(query: bytes, body: bytes, keys: Keys) -> Account | None:
    """Return whom the request's ``token`` or ``project`` speaks for."""
    known = map(keys.find, _keys(query, body))
    return next((account for account in known if account is not None), None)


def java_hash(text: bytes) -> int:
    """Return Java's ``String.hashCode`` of ASCII text: signed, 32 bits."""
    value = 0
    for start in range(0, len(text), _HASH_CHUNK):
        chunk = text[start : start + _HASH_CHUNK]
        powers = _POWERS[_HASH_CHUNK - len(chunk) :]
        value = (value * pow(31, len(chunk), 2**32) + sum(map(mul, chunk, powers))) % 2**32
    return value - 2**32 if value >= 2**31 else value


def _keys(query: bytes, body: bytes) -> list[str]:
    places = (_fields(query), _fields(body))
    return [
        place[name].decode("utf-8", "replace")
        for name in _KEY_FIELDS
        for place in places
        if name in place
    ]


def _account_of_item(items: list[bytes], keys: Keys) -> Account | None:
    head = (cut_object(items[0]) if items else None) or {}
    for name in _KEY_FIELDS:
        account = keys.find(text(head.get(name)))
        if account is not None:
            return account
    return None


def _items(body: bytes, query: bytes, *, cap_bytes: int) -> list[bytes] | Reject:
    """Return the bytes of each event in a request, or why they cannot be had."""
    fields = {**_fields(query), **_fields(body)}
    if body[:1] in (b"{", b"["):
        plain: bytes | Reject = body
    elif fields.get("gzip") in _ENCRYPTED:
        return Reject("collect", "encrypted_unsupported", "turn the SDK's encryption off")
    else:
        plain = _payload(fields, cap_bytes=cap_bytes)
    if isinstance(plain, Reject):
        return plain
    items = [plain] if cut_object(plain) is not None else cut_array(plain)
    if items is None:
        return Reject("collect", "not_json", "the payload is neither an object nor an array")
    if len(items) > MAX_ITEMS:
        return Reject("collect", "too_many_items", f"over {MAX_ITEMS} events in a request")
    return items


def _payload(fields: Mapping[str, bytes], *, cap_bytes: int) -> bytes | Reject:
    encoded = fields.get("data_list") or fields.get("data")
    if not encoded:
        return Reject("collect", "no_data", "the request has neither data nor data_list")
    if wrong := _wrong_crc(fields, encoded):
        return wrong
    try:
        # A plus that nobody escaped comes through some proxies as a blank.
        packed = encoded.replace(b" ", b"+").rstrip(b"=")
        plain = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as broken:
        return Reject("collect", "bad_base64", str(broken))
    return inflate(plain, cap_bytes=cap_bytes) if plain.startswith(GZIP_MAGIC) else plain


def _wrong_crc(fields: Mapping[str, bytes], encoded: bytes) -> Reject | None:
    """Return why the text was damaged on its way; the crc is optional, a field or in ``ext``."""
    checksum = fields.get("crc") or _fields(fields.get("ext", b"")).get("crc", b"")
    try:
        crc = int(checksum) if checksum else None
    except ValueError:
        return Reject("collect", "bad_crc", "crc is no number")
    text = encoded.replace(b" ", b"+")
    if crc is None or crc == java_hash(text):
        return None
    return Reject("collect", "bad_crc", "crc does not fit the data: changed or cut on the way")


def _fields(form: bytes) -> dict[str, bytes]:
    """Return the fields of a form: by hand, for it comes as text/plain with raw plus signs."""
    if form[:1] in (b"{", b"["):
        return {}
    fields: dict[str, bytes] = {}
    for pair in form.split(b"&", 32)[:32]:
        name, _, value = pair.strip(b"\r\n").partition(b"=")
        fields.setdefault(name.decode("ascii", "replace"), unquote_to_bytes(value))
    return fields
