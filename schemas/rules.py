"""Rules as authors write them: trigger, audience, guards, steps."""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from schemas.authoring import (
    Authored,
    Condition,
    DurationMs,
    EventNames,
    EventPath,
    Id,
    Match,
    NotYet,
    parse_duration_ms,
)
from schemas.tags import Bounds, Tag

Status = Literal["draft", "shadow", "live", "paused"]
Channel = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$")]


class Count(Match):
    """``n`` events within ``within``, of one value of ``by`` if given.

    It fires at the event that makes the count reach n; then it counts from zero again.
    """

    n: int = Field(ge=1, le=1000)
    within_ms: DurationMs = Field(alias="within")
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
    within_ms: DurationMs = Field(alias="within")
    again: Literal["restart", "ignore"] = "restart"


class Trigger(Authored):
    """Exactly one of: ``event`` (with ``where``), ``count``, ``absence``."""

    event: EventNames | None = None
    where: Condition = Field(default_factory=dict)
    count: Count | None = None
    absence: Absence | None = None
    sequence: NotYet = None
    inactive: NotYet = None
    tag: NotYet = None
    date: NotYet = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [k for k in ("event", "count", "absence") if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise PydanticCustomError("one_trigger", "write exactly one of event, count, absence")
        if self.where and self.event is None:
            raise PydanticCustomError(
                "where_place", "where belongs inside {kind}", {"kind": kinds[0]}
            )
        return self


class Reentry(Authored):
    """How soon the rule may take the same user again, by the time of the decision."""

    cooldown_ms: DurationMs = Field(alias="cooldown")


class Guard(Authored):
    """What holds touches back: ``holdout`` percent of users get none, ``cap`` bounds them."""

    holdout: float = Field(0, ge=0, le=100)
    cap: Id | None = None
    quiet: NotYet = None


class Variant(Authored):
    """One arm of a test; a user is in the same arm of a rule for ever."""

    id: Id
    weight: int = Field(ge=1)


class Send(Authored):
    """Send ``template`` over the first channel of ``via`` that can reach the user."""

    via: list[Channel] = Field(min_length=1)
    template: Id


class Step(Authored):
    """One step of the flow."""

    send: Send
    wait: NotYet = None
    branch: NotYet = None


class Rule(Authored):
    """One rule; ``status`` draft and paused are not run, shadow decides but sends nothing."""

    id: Id
    description: str = ""
    status: Status = "live"
    trigger: Trigger
    audience: Condition = Field(default_factory=dict)
    reentry: Reentry | None = None
    guard: Guard = Guard()
    variants: list[Variant] = Field(default_factory=list[Variant])
    steps: list[Step] = Field(min_length=1)
    exit: list[Match] = Field(default_factory=list[Match])
    priority: NotYet = None
    exclusive: NotYet = None
    goal: NotYet = None


def _period(raw: object) -> object:
    return raw if raw == "local_day" else parse_duration_ms(raw)


class Limit(Authored):
    """At most ``max`` touches per ``per``: a sliding period, or a calendar day of the shop."""

    max: int = Field(ge=1, le=1000)
    per: Annotated[
        int | Literal["local_day"], BeforeValidator(_period), WithJsonSchema({"type": "string"})
    ]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as unknown:
        raise PydanticCustomError("zone", "unknown time zone {name}", {"name": name}) from unknown
    return name


class Policies(Authored):
    """What rules share: ``caps`` by name, and the zone of ``local_day``."""

    caps: dict[Id, Annotated[list[Limit], Field(min_length=1)]] = Field(default_factory=dict)
    tz: Annotated[str, AfterValidator(_zone)] = "Asia/Shanghai"
    quiet: NotYet = None


class RulebookFile(Authored):
    """One YAML file of the rulebook: any of tags, policies, rules, declares, bounds.

    ``declares`` names own events, or own properties of catalogued events, so that
    paths to them are not taken for typing errors.
    """

    tags: list[Tag] = Field(default_factory=list[Tag])
    policies: Policies | None = None
    rules: list[Rule] = Field(default_factory=list[Rule])
    declares: dict[str, list[str]] = Field(default_factory=dict)
    # Of tags with quantiles, by id: `siyu tags bounds` writes them.
    bounds: dict[Id, Bounds] = Field(default_factory=dict[str, Bounds])
