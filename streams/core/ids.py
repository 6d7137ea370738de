"""Ids and random draws, derived from their causes: a replay gives the same ones."""

import hashlib


def make_id(*parts: str) -> str:
    """Return the id that these parts, in this order, always have: 32 hex digits."""
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


def make_share(*parts: str) -> int:
    """Return a number from 0 to 9999 that these parts always have: evenly spread."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 10_000
