"""Signatures of outgoing webhooks: who sent it, when, and that no byte changed on the way.

``Siyu-Signature`` is ``v1=<hex>``, an HMAC-SHA256 under the shared secret over
``<timestamp>.<body>``, where the timestamp is ``Siyu-Timestamp`` (epoch seconds).
"""

import hashlib
import hmac
from typing import Final

KEY_HEADER: Final = "Idempotency-Key"
TIMESTAMP_HEADER: Final = "Siyu-Timestamp"
SIGNATURE_HEADER: Final = "Siyu-Signature"
TOLERANCE_S: Final = 300


def sign(secret: bytes, timestamp_s: int, body: bytes) -> str:
    """Return the value of ``Siyu-Signature``."""
    digest = hmac.new(secret, b"%d." % timestamp_s + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"


def verify(secret: bytes, timestamp: str, signature: str, body: bytes, *, now_s: int) -> bool:
    """Tell whether a call is ours and fresh: at most ``TOLERANCE_S`` old or ahead."""
    try:
        timestamp_s = int(timestamp)
    except ValueError:
        return False
    if abs(now_s - timestamp_s) > TOLERANCE_S:
        return False
    # Bytes, because compare_digest refuses a str that is not ASCII.
    expected = sign(secret, timestamp_s, body).encode()
    return hmac.compare_digest(expected, signature.encode("utf-8", "backslashreplace"))
