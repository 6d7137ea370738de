"""Scheduled triggers, which time fires: too long without an event, a birthday, a festival.

Each rule has one due in the state of a user, the next. Events set it (a user without one has no
state), so a new rule begins for each user at the user's next event.
"""

import re
from datetime import date, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from schemas.conditions import Node
from schemas.touches import TagChange
from schemas.triggers import Date, Inactive
from streams.core.language.compile import Getter
from streams.core.rules.evaluation import FACTS_FIRST, Context, timely
from streams.core.rules.journeys import Flow
from streams.core.rules.zones import instant, local, zone_of, zone_or
from streams.core.state.user import DAY_MS, State

_BIRTHDAY: Final = re.compile(
    r"(?:[0-9]{4}[-/.]?)?(0?[1-9]|1[0-2])[-/.]?(0[1-9]|[12]\d|3[01]|[1-9])"
)
_COMPACT: Final = re.compile(r"[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_LEAP_DAY: Final = "02-29"


class Scheduled(Protocol):
    """What fires at a rule's due; ``name`` is the event name of its stand-in."""

    flow: Flow
    name: str

    def fire(self, context: Context) -> None:
        """Take a due, at the context's time; the caller has taken it out of the state."""


class OnInactive:
    """Fires once when no event came for so long; the next event sets it again."""

    name = "inactive"

    def __init__(self, flow: Flow, inactive: Inactive, where: Node | None, settle_ms: int) -> None:
        self.flow, self._for_ms, self.where = flow, inactive.for_ms, where
        self._settle_ms, self.priority = settle_ms, flow.rule.priority
        self._rule_id = flow.rule.id

    def __call__(self, context: Context) -> None:
        """Take an event: the time runs from it, if none is later."""
        state, at_ms = context.state, context.at_ms
        memory = state.rule(self._rule_id)
        if at_ms > memory.latest:
            memory.latest = at_ms
            # A due that is set already is put off when it comes: cheaper than at each event.
            if self._rule_id not in state.scheduled:
                state.scheduled[self._rule_id] = at_ms + self._for_ms

    def fire(self, context: Context) -> None:
        """Decide, unless the user came by meanwhile."""
        state, due_ms = context.state, context.at_ms
        latest_ms = state.rule(self._rule_id).latest
        if latest_ms + self._for_ms > due_ms:
            state.scheduled[self._rule_id] = latest_ms + self._for_ms
            return
        clock_ms = timely(due_ms, due_ms + self._settle_ms, context.now_ms)
        self.flow.decide(context, f"inactive:{latest_ms}", clock_ms)


class OnDate:
    """Fires at a time of day of the user's birthday, or of listed days, once for each day."""

    name = "date"
    where = None

    def __init__(
        self, flow: Flow, spec: Date, path: Getter | None, shop_tz: str, settle_ms: int
    ) -> None:
        self.flow, self._spec, self._path = flow, spec, path
        self._rule_id, self.priority = flow.rule.id, flow.rule.priority
        self._settle_ms, self._shop = settle_ms, ZoneInfo(shop_tz)
        self._before = timedelta(milliseconds=spec.before_ms)
        self._fixed = sorted(
            date.fromisoformat(day) for day in spec.days if len(day) > len("MM-DD")
        )
        self._yearly = [day for day in spec.days if len(day) == len("MM-DD")]
        far = self._fixed[-1].toordinal() - date(1970, 1, 1).toordinal() if self._fixed else -1
        self._last_ms = (far + 2) * DAY_MS

    def __call__(self, context: Context) -> None:
        """Take an event: keep the birthday that it holds, or set the due of listed days."""
        state = context.state
        if self._path is not None:
            self._keep(state, self._path(context.event))
        elif self._rule_id not in state.scheduled and (
            self._yearly or context.at_ms < self._last_ms
        ):
            self._schedule(state, state.latest_ms)

    def matches(self, change: TagChange) -> bool:
        """Take any value: it may be a birthday."""
        return change.after is not None

    def on_change(self, context: Context, change: TagChange, clock_ms: int) -> None:
        """Take a change of the tag that holds the birthday."""
        del clock_ms
        self._keep(context.state, change.after)

    def rezone(self, state: State, before: str) -> None:
        """Keep the day, in the user's new zone."""
        due_ms = state.scheduled.get(self._rule_id)
        if due_ms is not None:
            day = local(zone_or(before, self._shop), due_ms).date()
            state.scheduled[self._rule_id] = instant(self._zone(state), day, self._spec.at_min)

    def fire(self, context: Context) -> None:
        """Decide if the day is still one of the rule's; set the next due."""
        state, due_ms = context.state, context.at_ms
        zone, memory = self._zone(state), state.rule(self._rule_id)
        day = local(zone, due_ms).date()
        if day in self._days(state, day.year) and day.toordinal() > memory.latest:
            memory.latest = day.toordinal()
            clock_ms = timely(due_ms, due_ms + self._settle_ms, context.now_ms)
            self.flow.decide(context, f"date:{day}", clock_ms)
        self._schedule(state, due_ms)

    def _keep(self, state: State, raw: object) -> None:
        if raw is None:
            return
        birthday = parse_birthday(raw)
        memory = state.rule(self._rule_id)
        if birthday != memory.note:
            memory.note = birthday
            self._schedule(state, state.latest_ms)

    def _schedule(self, state: State, after_ms: int) -> None:
        zone = self._zone(state)
        memory = state.rules.get(self._rule_id)
        last_day = memory.latest if memory is not None else 0
        this = local(zone, after_ms).year
        years = (this - 1, this, this + 1, this + 2)
        days = [day for year in years for day in self._days(state, year)]
        times_ms = [
            instant(zone, day, self._spec.at_min) for day in days if day.toordinal() > last_day
        ]
        due_ms = min((time_ms for time_ms in times_ms if time_ms > after_ms), default=None)
        if due_ms is None:
            state.scheduled.pop(self._rule_id, None)
        else:
            state.scheduled[self._rule_id] = due_ms

    def _days(self, state: State, year: int) -> list[date]:
        """Return the days of a year, and those that ``before`` moves out of it."""
        if self._spec.birthday is not None:
            note = state.rule(self._rule_id).note
            days = [self._in_year(note, of) for of in (year, year + 1)] if note else []
        else:
            days = [day for day in self._fixed if day.year in (year, year + 1)]
            days += [self._in_year(day, of) for day in self._yearly for of in (year, year + 1)]
        return [day - self._before for day in days]

    def _in_year(self, month_day: str, year: int) -> date:
        if month_day == _LEAP_DAY and not _is_leap(year):
            return date(year, 2, 28) if self._spec.leap == "feb28" else date(year, 3, 1)
        return date.fromisoformat(f"{year:04}-{month_day}")

    def _zone(self, state: State) -> ZoneInfo:
        return zone_or(state.zone, self._shop)


class OnZone:
    """Keeps the time zone that the user's newest event names; dues of dates move with it."""

    priority = FACTS_FIRST
    where = None

    def __init__(self, path: Getter, dates: list[OnDate]) -> None:
        self._path, self._dates = path, dates

    def __call__(self, context: Context) -> None:
        """Take an event."""
        state = context.state
        name = self._path(context.event)
        if name is None or name == state.zone or context.at_ms < state.latest_ms:
            return
        if isinstance(name, str) and zone_of(name) is not None:
            before, state.zone = state.zone, name
            for rule in self._dates:
                rule.rezone(state, before)


def parse_birthday(raw: object) -> str:
    """Return "MM-DD" of a birthday as clients write it, empty if it is none."""
    text = raw.strip()[:10] if isinstance(raw, str) else ""
    match = _COMPACT.fullmatch(text) or _BIRTHDAY.fullmatch(text)
    if match is None:
        return ""
    month_day = f"{int(match[1]):02}-{int(match[2]):02}"
    try:
        date.fromisoformat(f"2000-{month_day}")
    except ValueError:
        return ""
    return month_day


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
