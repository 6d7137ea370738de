"""Caps (频控): at most so many touches of a name per user; a failed touch gives its place back."""

from zoneinfo import ZoneInfo

from schemas.events import Event
from schemas.policies import Limit
from streams.core.rules.evaluation import Effects
from streams.core.rules.zones import day_of, zone_of
from streams.core.state.user import DAY_MS, State


class Cap:
    """Limits over sliding periods or calendar days: the user's own, the shop's if not known."""

    def __init__(self, name: str, limits: list[Limit], zone: str) -> None:
        self.name, self._limits, self._zone = name, limits, ZoneInfo(zone)
        periods = [2 * DAY_MS if limit.per == "local_day" else limit.per for limit in limits]
        self._longest_ms = max(periods)

    def full(self, state: State, at_ms: int) -> bool:
        """Say whether one more touch at a time would break a limit."""
        times = state.caps.get(self.name)
        if not times:
            return False
        zone = zone_of(state.zone) or self._zone if state.zone else self._zone
        return any(self._used(times, limit, at_ms, zone) >= limit.max for limit in self._limits)

    def reserve(self, state: State, at_ms: int, touch_id: str) -> None:
        """Count a touch that goes out at a time."""
        times = state.caps.setdefault(self.name, [])
        times.append(at_ms)
        times.sort()
        gone_ms = times[-1] - self._longest_ms - DAY_MS
        while times[0] <= gone_ms:
            del times[0]
        held = state.reserved
        for stale in [
            one for one, (cap, time_ms) in held.items() if cap == self.name and time_ms <= gone_ms
        ]:
            del held[stale]
        held[touch_id] = (self.name, at_ms)

    def _used(self, times: list[int], limit: Limit, at_ms: int, zone: ZoneInfo) -> int:
        if limit.per == "local_day":
            today = day_of(zone, at_ms)
            return sum(day_of(zone, one) == today for one in times)
        # Later ones count too: an event that comes late must not make room for itself.
        return sum(one > at_ms - limit.per for one in times)


def refund(state: State, touch_id: str) -> bool:
    """Take back the place of a touch that failed; say whether it had one."""
    reserved = state.reserved.pop(touch_id, None)
    if reserved is None:
        return False
    times = state.caps.get(reserved[0], [])
    if reserved[1] in times:
        times.remove(reserved[1])
    return True


class OnRefund:
    """Gives back the place that a touch took in its cap, when it is said to have failed."""

    where = None
    priority = 20_000

    def __call__(
        self, state: State, event: Event, at_ms: int, effects: Effects, *, late: bool
    ) -> None:
        """Take an event; ``properties.touch_id`` names the touch."""
        del at_ms, effects, late
        touch_id = event.properties.get("touch_id") or event.properties.get("touchId")
        if isinstance(touch_id, str):
            refund(state, touch_id)
