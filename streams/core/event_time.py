"""Event time: the client's clock corrected by ours, and marks for what arrives late or early."""

from typing import Final

from schemas.events import Event, Mark

DAY_MS: Final = 86_400_000
LATE_MS: Final = DAY_MS
FUTURE_MS: Final = 5 * 60_000
# Outside these a client's clock was never set: our own time is nearer to the truth.
EARLIEST_MS: Final = 1_262_304_000_000  # 2010-01-01; WeChat and every SDK here are younger
# A server that sends has its clock set: what it says of older days is history that it imports.
# Not so near the epoch, where a missing time ends.
EARLIEST_OF_SERVERS_MS: Final = 315_532_800_000  # 1980-01-01
FURTHEST_MS: Final = 366 * DAY_MS


def event_time(
    received_ms: int,
    original_ms: int | None,
    sent_ms: int | None,
    *,
    earliest_ms: int = EARLIEST_MS,
) -> tuple[int, list[Mark]]:
    """Return (when it happened, marks), in epoch milliseconds UTC.

    received - (sent - original) removes the client's skew, however large it is. Without ``sent``
    the client's time is taken as it is, without ``original`` the arrival.
    """
    if original_ms is None:
        return received_ms, []
    time_ms = original_ms if sent_ms is None else received_ms - (sent_ms - original_ms)
    age_ms = received_ms - time_ms
    marks: list[Mark] = []
    if age_ms > LATE_MS:
        marks.append("late")
    elif age_ms < -FUTURE_MS:
        marks.append("future")
    if time_ms < earliest_ms or age_ms < -FURTHEST_MS:
        time_ms = received_ms
    return time_ms, marks


def event_time_ms(event: Event) -> int:
    """Return when an event happened: a clock that runs ahead cannot put it after its arrival."""
    return min(event.timestamp_ms, event.received_at_ms)
