"""Recent times by key: sorted lists, bounded in length and number."""

from bisect import insort
from typing import Final

# A user with more than these has no human pattern; the newest are kept.
MAX_KEYS: Final = 64
FEW_KEYS: Final = 8
MAX_TIMES: Final = 32


def remember(times: list[int], time_ms: int, horizon_ms: int) -> None:
    """Add a time to a sorted list; what is before the horizon goes, the newest stay."""
    insort(times, time_ms)
    while times and (times[0] < horizon_ms or len(times) > MAX_TIMES):
        del times[0]


def times_of(by_key: dict[str, list[int]], key: str, horizon_ms: int) -> list[int]:
    """Return the list of a key, made on first use; keys that ended before the horizon go."""
    times = by_key.get(key)
    if times is None:
        # Not at each new key: a few stale ones cost less than to look for them.
        if by_key and len(by_key) % FEW_KEYS == 0:
            for stale in [k for k, v in by_key.items() if not v or v[-1] < horizon_ms]:
                del by_key[stale]
        if len(by_key) >= MAX_KEYS:
            del by_key[min(by_key, key=lambda k: (by_key[k][-1], k))]
        times = by_key[key] = []
    return times
