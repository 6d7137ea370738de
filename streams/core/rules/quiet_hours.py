"""Quiet hours (免打扰): whether a time lies in them, and when they end."""

from zoneinfo import ZoneInfo

from schemas.policies import QuietHours
from streams.core.rules.zones import minutes_of, next_instant


class QuietWindow:
    """One window of the policies, in local time."""

    def __init__(self, name: str, hours: QuietHours, shop_tz: str) -> None:
        self.name, self._from, self._to = name, hours.from_min, hours.to_min
        self._fixed = None if hours.tz == "user" else ZoneInfo(hours.tz)
        self._default = ZoneInfo(hours.default_tz or shop_tz)

    def end_ms(self, at_ms: int, user_zone: ZoneInfo | None) -> int | None:
        """Return when the quiet hours that a time lies in end; ``None`` if it lies in none."""
        zone = self._fixed or user_zone or self._default
        if not self._holds(zone, at_ms):
            return None
        end_ms = next_instant(zone, at_ms, self._to)
        # A time that comes twice may end them in the hour that comes again: then not yet.
        while self._holds(zone, end_ms):
            end_ms = next_instant(zone, end_ms + 1, self._to)
        return end_ms

    def _holds(self, zone: ZoneInfo, at_ms: int) -> bool:
        minutes = minutes_of(zone, at_ms)
        if self._from < self._to:
            return self._from <= minutes < self._to
        return minutes >= self._from or minutes < self._to
