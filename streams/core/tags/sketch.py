"""HyperLogLog: how many different values there were, in 64 bytes, with a standard error of 13 %.

Flajolet et al. 2007, with the estimator of Ertl (arXiv:1702.01284, algorithm 6), which
needs no tables and has no gap between small and large counts. It is our own: sketches of the
maintained library (datasketches) depend on the order in which they were filled, which the laws
of tags forbid, and take more bytes.
"""

import hashlib
from functools import lru_cache
from math import inf, log
from typing import Final

HASH_BYTES: Final = 4
MAX_HASHES: Final = 16
_INDEX_BITS: Final = 6
_REGISTERS: Final = 1 << _INDEX_BITS
_REST_BITS: Final = 8 * HASH_BYTES - _INDEX_BITS
EMPTY: Final = bytes(_REGISTERS)


@lru_cache(maxsize=16_384)
def hash_of(key: str) -> bytes:
    """Return the 32-bit hash of a value; the wares of a shop come again and again."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()


def hashes_of(packed: bytes) -> list[bytes]:
    """Return single hashes of many."""
    return [packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)]


def registered(sketch: bytes, value: bytes) -> bytes:
    """Return a sketch that has seen a hash: the longest run of noughts of its register."""
    number = int.from_bytes(value, "big")
    at, run = number >> _REST_BITS, _REST_BITS + 1 - (number & (1 << _REST_BITS) - 1).bit_length()
    return sketch if sketch[at] >= run else sketch[:at] + bytes((run,)) + sketch[at + 1 :]


def estimate(sketch: bytes) -> float:
    """Return how many different hashes a sketch has seen, about."""
    counts = [sketch.count(run) for run in range(_REST_BITS + 2)]
    total = _REGISTERS * _tau(1 - counts[-1] / _REGISTERS)
    for count in reversed(counts[1:-1]):
        total = (total + count) / 2
    total += _REGISTERS * _sigma(counts[0] / _REGISTERS)
    return _REGISTERS**2 / (2 * log(2) * total)


def _sigma(x: float) -> float:
    if x == 1:
        return inf
    total, last, step = x, -1.0, 1.0
    while total != last:
        x, last = x * x, total
        total, step = total + x * step, 2 * step
    return total


def _tau(x: float) -> float:
    if x in (0, 1):
        return 0
    total, last, step = 1 - x, -1.0, 1.0
    while total != last:
        x, last, step = x**0.5, total, step / 2
        total -= (1 - x) ** 2 * step
    return total / 3
