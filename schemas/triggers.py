"""Triggers as authors write them: what must happen, or not happen, for a rule to look at a user."""

import re
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from schemas.authoring import (
    Authored,
    DurationMs,
    EventName,
    EventNames,
    EventPath,
    Match,
)
from schemas.conditions import Condition, ConditionInvalid, Where, anything
from schemas.faults import Fault

TRIGGERS: Final = ("event", "count", "sequence", "absence", "inactive", "tag", "date")
# A user's state keeps what it waits for no longer than this.
MAX_WITHIN_MS: Final = 400 * 86_400_000
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_DAY: Final = re.compile(r"(?:([0-9]{4})-)?(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_DAYS_OF: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_YEAR: Final = 4


def _bounded(within_ms: int) -> int:
    if within_ms > MAX_WITHIN_MS:
        raise PydanticCustomError(
            "horizon", "longer than a user's state is kept for: write 400d or less"
        )
    return within_ms


def _minutes(raw: object) -> object:
    if isinstance(raw, int) and not isinstance(raw, bool):
        raise PydanticCustomError(
            "clock",
            "{raw} is not a time of day: YAML reads 22:00 as 1320, so quote it",
            {"raw": raw},
        )
    time_of_day = _CLOCK.fullmatch(raw) if isinstance(raw, str) else None
    if time_of_day is None:
        raise PydanticCustomError(
            "clock", '{raw} is not a time of day: write it like "09:00"', {"raw": repr(raw)}
        )
    return int(time_of_day[1]) * 60 + int(time_of_day[2])


def _day(raw: object) -> object:
    text = raw if isinstance(raw, str) else str(raw)
    day = _DAY.fullmatch(text)
    # The 29th of February of a year that has none is seen when it is looked for.
    if day is None or int(day[3]) > _DAYS_OF[int(day[2]) - 1] or not _exists(text):
        raise PydanticCustomError(
            "day",
            '{raw} is not a day: write "2027-02-06", or "12-25" for every year',
            {"raw": repr(raw)},
        )
    return text


def _exists(text: str) -> bool:
    year = text[:_YEAR]
    leap = year.isdigit() and int(year) % 4 == 0 and (int(year) % 100 != 0 or int(year) % 400 == 0)
    return not (year.isdigit() and text.endswith("02-29") and not leap)


WithinMs = Annotated[DurationMs, AfterValidator(_bounded)]
# Minutes after midnight, written "HH:MM".
ClockMinutes = Annotated[
    int,
    BeforeValidator(_minutes),
    WithJsonSchema({"type": "string", "pattern": f"^{_CLOCK.pattern}$"}),
]
# "YYYY-MM-DD", or "MM-DD" for each year; YAML makes a date of the first if it is not quoted.
Day = Annotated[
    str, BeforeValidator(_day), WithJsonSchema({"type": "string", "pattern": f"^{_DAY.pattern}$"})
]
_TAG_PATH: Final = r"^[a-z][a-z0-9_]{0,62}(\.[A-Za-z0-9_-]{1,64})?$"


class Count(Match):
    """``n`` events within ``within``, of one value of ``by`` if it is set.

    It fires at the event that makes the count reach n; then it counts from zero again.
    """

    n: int = Field(ge=1, le=1000)
    within_ms: WithinMs = Field(alias="within")
    by: EventPath | None = None


class Joined(Match):
    """Events that share the values of the ``join`` paths with the one that came before."""

    join: list[EventPath] = Field(default_factory=list[EventPath])


class Absence(Authored):
    """After ``after``, no ``none`` for ``within``, ends included.

    ``again`` says what another ``after`` does while one waits: restart the wait, or nothing.
    An ``after`` that lacks a ``join`` value does not start a wait: nothing could end it.
    """

    after: Match
    none: Joined
    within_ms: WithinMs = Field(alias="within")
    again: Literal["restart", "ignore"] = "restart"


class Sequence(Authored):
    """``steps`` one after the other, each strictly later, all within ``within``, ends included.

    The values of the ``join`` paths are the same in all of them. It fires when the last
    that was missing arrives; what led to it is used up.
    """

    steps: list[Match] = Field(min_length=2, max_length=16)
    within_ms: WithinMs = Field(alias="within")
    join: list[EventPath] = Field(default_factory=list[EventPath])


def _any_event() -> list[EventName]:
    return ["*"]


class Inactive(Authored):
    """No event (of these names) for so long; once, until the user comes back."""

    event: EventNames = Field(default_factory=_any_event)
    where: Where = Field(default_factory=anything)
    for_ms: WithinMs = Field(alias="for")


class TagMove(Authored):
    """A tag came to a value (``enters``) or went from it (``leaves``), by an event or by time.

    ``id`` may name a part, like ``rfm.segment``. A value is written as in an audience:
    ``dormant``, ``true``, ``{gte: 1000}``.
    """

    id: Annotated[str, Field(pattern=_TAG_PATH)]
    enters: Any = None
    leaves: Any = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.enters is None) == (self.leaves is None):
            raise PydanticCustomError("one_way", "write exactly one of enters, leaves")
        try:
            _ = self.condition
        except ConditionInvalid as invalid:
            faults = [Fault((self.way,), fault.problem, fault.hint) for fault in invalid.faults]
            raise PydanticCustomError(
                "condition", "a wrong condition", {"faults": faults}
            ) from invalid
        return self

    @property
    def way(self) -> Literal["enters", "leaves"]:
        """Return which of the two is written."""
        return "enters" if self.leaves is None else "leaves"

    @cached_property
    def condition(self) -> Condition:
        """Return what the tag's value is asked for, as a condition on the tag."""
        value = self.enters if self.leaves is None else self.leaves
        return Condition.parse({f"tag.{self.id}": value}, tags=True)


class Date(Authored):
    """A day at ``at`` o'clock where the user is: the ``birthday`` kept somewhere, or ``days``.

    ``birthday`` is a path to YYYY-MM-DD or MM-DD: ``traits.birthday`` or ``tag.birthday``.
    ``before`` is so many whole days earlier. Who was born on a leap day is greeted on the
    28th of February in other years (``leap: mar1``: on the 1st of March).
    """

    birthday: EventPath | None = None
    days: list[Day] = Field(default_factory=list[Day], max_length=366)
    at_min: ClockMinutes = Field(alias="at")
    before_ms: DurationMs = Field(0, alias="before")
    leap: Literal["feb28", "mar1"] = "feb28"

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.birthday is None) == (not self.days):
            raise PydanticCustomError("one_date", "write exactly one of birthday, days")
        if self.before_ms % 86_400_000 or self.before_ms > 60 * 86_400_000:
            raise PydanticCustomError("before", "before is whole days, 60d at most")
        return self


class Trigger(Authored):
    """Exactly one of the kinds; ``where`` goes with ``event``, the others have their own."""

    event: EventNames | None = None
    where: Where = Field(default_factory=anything)
    count: Count | None = None
    sequence: Sequence | None = None
    absence: Absence | None = None
    inactive: Inactive | None = None
    tag: TagMove | None = None
    date: Date | None = None

    @property
    def kind(self) -> str:
        """Return the name of the kind that is written."""
        return next(kind for kind in TRIGGERS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in TRIGGERS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise PydanticCustomError("one_trigger", f"write exactly one of {', '.join(TRIGGERS)}")
        if self.where and self.event is None:
            raise PydanticCustomError(
                "where_place", "where belongs inside {kind}", {"kind": kinds[0]}
            )
        return self
