"""Alarms: rules that time fires for a user: too long without an event, a birthday, a festival.

Each rule has one alarm in the state of a user, the next due. It is set by events (a user
that was never heard of has no state), so a new rule takes up each user at the next one.
"""

import re
from datetime import date, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from schemas.conditions import Node
from schemas.events import Event
from schemas.touches import TagChange
from schemas.triggers import Date, Inactive
from streams.core.language.compile import Getter
from streams.core.rules.evaluation import Effects, no_event, timely
from streams.core.rules.rule import LiveRule
from streams.core.rules.zones import instant, local, zone_of
from streams.core.state.user import DAY_MS, LATE_MS, State

_BIRTHDAY: Final = re.compile(
    r"(?:[0-9]{4}[-/.]?)?(0?[1-9]|1[0-2])[-/.]?(0[1-9]|[12]\d|3[01]|[1-9])"
)
_COMPACT: Final = re.compile(r"[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_LEAP_DAY: Final = "02-29"


class Alarm(Protocol):
    """What a due of one rule leads to."""

    rule: LiveRule

    def fire(self, state: State, due_ms: int, user: str, now_ms: int, effects: Effects) -> None:
        """Take a due that has come; the alarm is in the state no more."""


class OnInactive:
    """Fires once when no event came for so long; the next event arms it again."""

    def __init__(
        self, rule: LiveRule, inactive: Inactive, where: Node | None, settle_ms: int
    ) -> None:
        self.rule, self._for_ms, self.where = rule, inactive.for_ms, where
        self._settle_ms, self.priority = settle_ms, rule.priority

    def __call__(
        self, state: State, event: Event, at_ms: int, effects: Effects, *, late: bool
    ) -> None:
        """Take an event: the time runs from it, if none is later."""
        del event, effects, late
        held = state.rule(self.rule.id)
        if at_ms > held.latest_ms:
            held.latest_ms = at_ms
            # One that is set already is put off when it comes: that is cheaper than at each event.
            if self.rule.id not in state.alarms:
                state.alarms[self.rule.id] = at_ms + self._for_ms

    def fire(self, state: State, due_ms: int, user: str, now_ms: int, effects: Effects) -> None:
        """Decide, unless the user came by meanwhile."""
        latest_ms = state.rule(self.rule.id).latest_ms
        if latest_ms + self._for_ms > due_ms:
            state.alarms[self.rule.id] = latest_ms + self._for_ms
            return
        self.rule.decide(
            state, no_event(user, "inactive", due_ms), due_ms, f"inactive:{latest_ms}", effects,
            late=now_ms - due_ms > LATE_MS,
            clock_ms=timely(due_ms, due_ms + self._settle_ms, now_ms),
        )  # fmt: skip


class OnDate:
    """Fires at a time of day of the user's birthday, or of listed days, once for each day."""

    where = None

    def __init__(
        self, rule: LiveRule, spec: Date, path: Getter | None, shop_tz: str, settle_ms: int
    ) -> None:
        self.rule, self._spec, self._path = rule, spec, path
        self._settle_ms, self.priority = settle_ms, rule.priority
        self._tz = ZoneInfo(shop_tz)
        self._before = timedelta(milliseconds=spec.before_ms)
        self._fixed = sorted(
            date.fromisoformat(one) for one in spec.days if len(one) > len("MM-DD")
        )
        self._yearly = [one for one in spec.days if len(one) == len("MM-DD")]
        far = self._fixed[-1].toordinal() - date(1970, 1, 1).toordinal() if self._fixed else -1
        self._last_ms = (far + 2) * DAY_MS

    def __call__(
        self, state: State, event: Event, at_ms: int, effects: Effects, *, late: bool
    ) -> None:
        """Take an event: keep the birthday that it holds, or set the alarm of listed days."""
        del effects, late
        if self._path is not None:
            self._keep(state, self._path(event))
        elif self.rule.id not in state.alarms and (self._yearly or at_ms < self._last_ms):
            self._arm(state, state.latest_ms)

    def hears(self, change: TagChange) -> bool:
        """Take any value: it may be a birthday."""
        return change.after is not None

    def moved(
        self,
        state: State,
        change: TagChange,
        event: Event,
        effects: Effects,
        *,
        late: bool,
        clock_ms: int,
    ) -> None:
        """Take a change of the tag that holds the birthday."""
        del event, effects, late, clock_ms
        self._keep(state, change.after)

    def rezone(self, state: State, before: str) -> None:
        """Keep the day, in the user's new zone."""
        due_ms = state.alarms.get(self.rule.id)
        if due_ms is not None:
            day = local(zone_of(before) or self._tz, due_ms).date()
            state.alarms[self.rule.id] = instant(self._zone(state), day, self._spec.at_min)

    def fire(self, state: State, due_ms: int, user: str, now_ms: int, effects: Effects) -> None:
        """Decide if the day is still one of the rule's; set the next alarm."""
        zone, held = self._zone(state), state.rule(self.rule.id)
        day = local(zone, due_ms).date()
        if day in self._days(state, day.year) and day.toordinal() > held.latest_ms:
            held.latest_ms = day.toordinal()
            self.rule.decide(
                state, no_event(user, "date", due_ms), due_ms, f"date:{day}", effects,
                late=now_ms - due_ms > LATE_MS,
                clock_ms=timely(due_ms, due_ms + self._settle_ms, now_ms),
            )  # fmt: skip
        self._arm(state, due_ms)

    def _keep(self, state: State, raw: object) -> None:
        if raw is None:
            return
        birthday = parse_birthday(raw)
        held = state.rule(self.rule.id)
        if birthday != held.note:
            held.note = birthday
            self._arm(state, state.latest_ms)

    def _arm(self, state: State, after_ms: int) -> None:
        zone = self._zone(state)
        held = state.rules.get(self.rule.id)
        told = held.latest_ms if held is not None else 0
        year = local(zone, after_ms).year
        days = [
            day for one in (year - 1, year, year + 1, year + 2) for day in self._days(state, one)
        ]
        times = [instant(zone, day, self._spec.at_min) for day in days if day.toordinal() > told]
        due_ms = min((one for one in times if one > after_ms), default=None)
        if due_ms is None:
            state.alarms.pop(self.rule.id, None)
        else:
            state.alarms[self.rule.id] = due_ms

    def _days(self, state: State, year: int) -> list[date]:
        """Return the days of a year, and those that ``before`` moves out of it."""
        if self._spec.birthday is not None:
            note = state.rule(self.rule.id).note
            days = [self._in_year(note, one) for one in (year, year + 1)] if note else []
        else:
            days = [one for one in self._fixed if one.year in (year, year + 1)]
            days += [self._in_year(one, of) for one in self._yearly for of in (year, year + 1)]
        return [day - self._before for day in days]

    def _in_year(self, month_day: str, year: int) -> date:
        if month_day == _LEAP_DAY and not _is_leap(year):
            return date(year, 2, 28) if self._spec.leap == "feb28" else date(year, 3, 1)
        return date.fromisoformat(f"{year:04}-{month_day}")

    def _zone(self, state: State) -> ZoneInfo:
        return (zone_of(state.zone) if state.zone else None) or self._tz


class OnZone:
    """Keeps the time zone that the user's newest event names; the due of dates go with it."""

    priority = 20_000
    where = None

    def __init__(self, path: Getter, dates: list[OnDate]) -> None:
        self._path, self._dates = path, dates

    def __call__(
        self, state: State, event: Event, at_ms: int, effects: Effects, *, late: bool
    ) -> None:
        """Take an event."""
        del effects, late
        name = self._path(event)
        if name is None or name == state.zone or at_ms < state.latest_ms:
            return
        if isinstance(name, str) and zone_of(name) is not None:
            before, state.zone = state.zone, name
            for one in self._dates:
                one.rezone(state, before)


def parse_birthday(raw: object) -> str:
    """Return "MM-DD" of a birthday as clients write it, nothing if it is none."""
    text = raw.strip()[:10] if isinstance(raw, str) else ""
    found = _COMPACT.fullmatch(text) or _BIRTHDAY.fullmatch(text)
    if found is None:
        return ""
    month_day = f"{int(found[1]):02}-{int(found[2]):02}"
    try:
        date.fromisoformat(f"2000-{month_day}")
    except ValueError:
        return ""
    return month_day


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
