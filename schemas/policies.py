"""What all rules share: caps, quiet hours, exclusive groups, holdout, zone, template ids."""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from schemas.authoring import Authored, Channel, DurationMs, EventPath, Id, parse_duration_ms
from schemas.triggers import ClockMinutes


def _period(raw: object) -> object:
    return raw if raw == "local_day" else parse_duration_ms(raw)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as unknown:
        raise PydanticCustomError("zone", "unknown time zone {name}", {"name": name}) from unknown
    return name


def _zone_or_user(name: str) -> str:
    return name if name == "user" else _zone(name)


Zone = Annotated[str, AfterValidator(_zone)]
PlatformId = Annotated[str, Field(min_length=1, max_length=128)]


class Limit(Authored):
    """At most ``max`` touches per ``per``: a sliding period, or a calendar day of the user."""

    max: int = Field(ge=1, le=1000)
    per: Annotated[
        int | Literal["local_day"], BeforeValidator(_period), WithJsonSchema({"type": "string"})
    ]


class QuietHours(Authored):
    """From ``from`` to ``to`` o'clock, the end not included, by the user's clock or a fixed one.

    ``tz`` is ``user`` or a zone; ``default_tz`` is for users whose zone is not known
    (``policies.tz`` if it is not written). Over midnight where ``to`` is the earlier one.
    """

    from_min: ClockMinutes = Field(alias="from")
    to_min: ClockMinutes = Field(alias="to")
    tz: Annotated[str, AfterValidator(_zone_or_user)] = "user"
    default_tz: Zone | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.from_min == self.to_min:
            raise PydanticCustomError("quiet", "from and to are the same: no hour, or all of them")
        return self


class ExclusiveGroup(Authored):
    """An exclusive group: after one of its rules has fired, the others do not fire for ``per``."""

    per_ms: DurationMs = Field(alias="per")


class GlobalHoldout(Authored):
    """``percent`` of all users get no marketing; another ``salt`` draws others."""

    percent: float = Field(ge=0, le=50)
    salt: str = Field("global", min_length=1, max_length=64)


class Policies(Authored):
    """What rules share. ``tz`` is the shop's zone; a user's own is the last value of ``zone_from``.

    ``templates`` are the platforms' own ids of templates, by channel: consents go by them.
    """

    caps: dict[Id, Annotated[list[Limit], Field(min_length=1)]] = Field(default_factory=dict)
    quiet: dict[Id, QuietHours] = Field(default_factory=dict)
    exclusive: dict[Id, ExclusiveGroup] = Field(default_factory=dict)
    holdout: GlobalHoldout | None = None
    tz: Zone = "Asia/Shanghai"
    zone_from: EventPath = "context.timezone"
    templates: dict[Id, Annotated[dict[Channel, PlatformId], Field(min_length=1)]] = Field(
        default_factory=dict
    )
