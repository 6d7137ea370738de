"""The clock on the wall; the core does not read it, and is told the time instead."""

import time


def now_ms() -> int:
    """Return the time in whole milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
