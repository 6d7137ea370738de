"""Duplicates: which message ids a source has sent lately, packed in at most 2 KiB.

A ring of 64-bit hashes of the last 256 ids, oldest first. **Horizon:** a duplicate is
recognised while fewer than 256 other ids of the same source came after it; an SDK that
resends a batch (at most 500 KB, retried at once) stays well inside. Two different ids
take each other's place with a chance of 256 in 2^64 for each event.
"""

from hashlib import blake2b
from typing import Final

HORIZON_IDS: Final = 256
_HASH_BYTES: Final = 8
_KEPT_BYTES: Final = (HORIZON_IDS - 1) * _HASH_BYTES


def seen(packed: bytes | None, message_id: str) -> bytes | None:
    """Return the memory with the id added, or ``None`` if it holds the id already.

    The caller keeps the new memory only once the event is durable.
    """
    digest = blake2b(message_id.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()
    if not packed:
        return digest
    at = packed.find(digest)
    # Bytes of two neighbours may spell the hash across their border.
    while at % _HASH_BYTES and at != -1:
        at = packed.find(digest, at + 1)
    return packed[-_KEPT_BYTES:] + digest if at == -1 else None
