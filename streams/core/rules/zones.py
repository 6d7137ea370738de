"""Local time, in any zone, also where clocks jump.

A time that a day skips (clocks go forward) is the moment of the jump; one that it has
twice (clocks go back) is the first of the two.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

_SECOND_MS: Final = 1000
_MINUTE_MS: Final = 60_000
_QUARTER_MS: Final = 15 * _MINUTE_MS
_DAY_MS: Final = 24 * 60 * _MINUTE_MS


@lru_cache(maxsize=512)
def zone_of(name: str) -> ZoneInfo | None:
    """Return the zone of a name, ``None`` if there is none: names come with events."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def zone_or(name: str, default: ZoneInfo) -> ZoneInfo:
    """Return the zone of a name from a user's events; the default if it is empty or unknown."""
    return (zone_of(name) if name else None) or default


@lru_cache(maxsize=8192)
def _offset_ms(zone: ZoneInfo, quarter: int) -> int:
    """Return what a zone adds to UTC in a quarter of an hour: no clock changes amid one."""
    offset = datetime.fromtimestamp(quarter * 900, zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * _SECOND_MS)


def day_of(zone: ZoneInfo, at_ms: int) -> int:
    """Return the number of the local day, counted from 1970-01-01."""
    return (at_ms + _offset_ms(zone, at_ms // _QUARTER_MS)) // _DAY_MS


def minutes_of(zone: ZoneInfo, at_ms: int) -> int:
    """Return the local time of day, in minutes since midnight."""
    return (at_ms + _offset_ms(zone, at_ms // _QUARTER_MS)) % _DAY_MS // _MINUTE_MS


def local(zone: ZoneInfo, at_ms: int) -> datetime:
    """Return the local time of a zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)


@lru_cache(maxsize=8192)
def instants(zone: ZoneInfo, day: date, minutes: int) -> tuple[int, int]:
    """Return when a day's clock shows a time: first and, where it is twice, second."""
    naive = datetime.combine(day, time(minutes // 60, minutes % 60), zone)
    early, late = (_stamp(naive.replace(fold=fold)) for fold in (0, 1))
    if early <= late:
        return early, late
    # Skipped: with fold 0 it lies after the jump, with fold 1 before it.
    jump = _jump(zone, late, early)
    return jump, jump


def instant(zone: ZoneInfo, day: date, minutes: int) -> int:
    """Return the first moment of a day at which its clock shows a time or is past it."""
    return instants(zone, day, minutes)[0]


def next_instant(zone: ZoneInfo, at_ms: int, minutes: int) -> int:
    """Return the first moment, at or after ``at_ms``, of a local time of day, in ms."""
    today = local(zone, at_ms).date()
    # A jump over midnight may leave a day with none of the times that it should have.
    times = [
        time_ms
        for days in range(-1, 3)
        for time_ms in instants(zone, today + timedelta(days), minutes)
    ]
    return min(time_ms for time_ms in times if time_ms >= at_ms)


def after_days(zone: ZoneInfo, at_ms: int, days: int) -> int:
    """Return when a clock shows the same time so many days later."""
    return _stamp(local(zone, at_ms) + timedelta(days)) if days else at_ms


def _stamp(aware: datetime) -> int:
    return round(aware.timestamp() * _SECOND_MS)


def _jump(zone: ZoneInfo, before_ms: int, after_ms: int) -> int:
    """Return the moment between two at which the offset changes."""
    offset = local(zone, before_ms).utcoffset()
    while after_ms - before_ms > 1:
        middle_ms = (before_ms + after_ms) // 2
        if local(zone, middle_ms).utcoffset() == offset:
            before_ms = middle_ms
        else:
            after_ms = middle_ms
    return after_ms
