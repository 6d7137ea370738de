"""Write keys at the edge: whom a request speaks for, whether it is signed, how much it may send.

Keys are found by their SHA-256 and signatures compared in constant time, so that how long
an answer takes says nothing about a key.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from schemas.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, verify
from schemas.sources import Limit, Source, Sources, WriteKey
from streams.sources.records import Refusal

Clock = Callable[[], float]


class Bucket:
    """A token bucket over events; a batch may overdraw it, and the debt is waited for."""

    def __init__(self, limit: Limit, clock: Clock = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._tokens, self._at_s = float(limit.burst), clock()

    def take(self, events: int) -> float:
        """Take tokens for ``events`` and return 0, or take none and return seconds to wait."""
        now_s = self._clock()
        filled = self._tokens + (now_s - self._at_s) * self._limit.per_s
        self._tokens, self._at_s = min(filled, float(self._limit.burst)), now_s
        # More than a whole burst could never pass: a full bucket lets it through on credit.
        short = min(events, self._limit.burst) - self._tokens
        if short > 0:
            return short / self._limit.per_s
        self._tokens -= events
        return 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a write key speaks for."""

    source: Source
    name: str
    secret: bytes | None = None
    bucket: Bucket | None = None


class Keys:
    """All write keys of the sources file, with their buckets."""

    def __init__(self, sources: Sources, clock: Clock = time.monotonic) -> None:
        self._accounts = {
            _digest(key): _account(entry, clock) for key, entry in sources.write_keys.items()
        }
        self._strangers = Bucket(sources.strangers, clock)

    def find(self, key: str | None) -> Account | None:
        """Return the account of a key; ``None`` if there is no such key."""
        return self._accounts.get(_digest(key)) if key else None

    def wait_s(self, account: Account | None, events: int) -> float:
        """Return 0 if the account (``None``: a stranger) may send so much now, else the wait."""
        bucket = self._strangers if account is None else account.bucket
        return bucket.take(events) if bucket is not None else 0.0


def unsigned(
    account: Account, headers: Mapping[str, str], body: bytes, *, now_s: int
) -> Refusal | None:
    """Return why a request must be refused that its account's secret did not sign."""
    if account.secret is None:
        return None
    stamp, signature = headers.get(TIMESTAMP_HEADER, ""), headers.get(SIGNATURE_HEADER, "")
    if verify(account.secret, stamp, signature, body, now_s=now_s):
        return None
    what = f"sign the body as sent: {TIMESTAMP_HEADER} in seconds, {SIGNATURE_HEADER} v1=<hex>"
    return Refusal(401, "bad_signature", what)


def _account(entry: WriteKey, clock: Clock) -> Account:
    secret = entry.secret.get_secret_value().encode() if entry.secret else None
    bucket = Bucket(entry.limit, clock) if entry.limit else None
    return Account(entry.source, entry.name, secret, bucket)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
