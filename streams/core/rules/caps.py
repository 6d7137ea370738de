"""Caps (频控): limits on the touches of a user; a failed touch frees its place."""

from zoneinfo import ZoneInfo

from schemas.policies import Limit
from streams.core.rules.evaluation import FACTS_FIRST, Context
from streams.core.rules.zones import day_of, zone_or
from streams.core.state.user import DAY_MS, State


class Cap:
    """Limits over sliding periods or calendar days: days of the user's zone, else the shop's."""

    def __init__(self, name: str, limits: list[Limit], zone: str) -> None:
        self.name, self._limits, self._zone = name, limits, ZoneInfo(zone)
        periods = [2 * DAY_MS if limit.per == "local_day" else limit.per for limit in limits]
        self._longest_ms = max(periods)

    def full(self, state: State, at_ms: int) -> bool:
        """Say whether one more touch at a time would break a limit."""
        times = state.caps.get(self.name)
        if not times:
            return False
        zone = zone_or(state.zone, self._zone)
        return any(self._used(times, limit, at_ms, zone) >= limit.max for limit in self._limits)

    def reserve(self, state: State, at_ms: int, touch_id: str) -> None:
        """Count a touch that goes out at a time."""
        times = state.caps.setdefault(self.name, [])
        times.append(at_ms)
        times.sort()
        gone_ms = times[-1] - self._longest_ms - DAY_MS
        while times[0] <= gone_ms:
            del times[0]
        reserved = state.reserved
        stale = [
            other
            for other, (cap, time_ms) in reserved.items()
            if cap == self.name and time_ms <= gone_ms
        ]
        for other in stale:
            del reserved[other]
        reserved[touch_id] = (self.name, at_ms)

    def _used(self, times: list[int], limit: Limit, at_ms: int, zone: ZoneInfo) -> int:
        if limit.per == "local_day":
            today = day_of(zone, at_ms)
            return sum(day_of(zone, time_ms) == today for time_ms in times)
        # Later ones count too: an event that comes late must not make room for itself.
        return sum(time_ms > at_ms - limit.per for time_ms in times)


def refund(state: State, touch_id: str) -> bool:
    """Free the place of a touch that failed; say whether it had one."""
    reserved = state.reserved.pop(touch_id, None)
    if reserved is None:
        return False
    times = state.caps.get(reserved[0], [])
    if reserved[1] in times:
        times.remove(reserved[1])
    return True


class OnRefund:
    """Frees the place of a touch in its cap when the touch has failed."""

    where = None
    priority = FACTS_FIRST

    def __call__(self, context: Context) -> None:
        """Take an event; ``properties.touch_id`` names the touch."""
        properties = context.event.properties
        touch_id = properties.get("touch_id") or properties.get("touchId")
        if isinstance(touch_id, str):
            refund(context.state, touch_id)
