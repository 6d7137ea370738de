"""What every file that a rule author writes shares: strict models, durations, event names."""

import re
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from schemas.conditions import Where, anything

UNITS_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})(s|m|h|d|w)")
# Ids stand in paths (`tag.view_24h`), file names and ClickHouse columns.
ID_PATTERN: Final = r"^[a-z][a-z0-9_]{0,62}$"


class Authored(BaseModel):
    """A part of the rulebook: unknown keys are errors, values are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def parse_duration_ms(raw: object) -> int:
    """Return the milliseconds of ``90s``, ``30m``, ``24h``, ``7d`` or ``2w``."""
    duration = _DURATION.fullmatch(raw) if isinstance(raw, str) else None
    if duration is None:
        raise PydanticCustomError(
            "duration",
            "{raw} is not a duration: write a whole number and a unit, like 30m, 24h or 7d",
            {"raw": repr(raw)},
        )
    return int(duration[1]) * UNITS_MS[duration[2]]


def spell_duration(duration_ms: int) -> str:
    """Return a duration as an author writes it, in its largest whole unit: ``2w``, ``90s``."""
    for unit in ("w", "d", "h", "m"):
        if duration_ms >= UNITS_MS[unit] and duration_ms % UNITS_MS[unit] == 0:
            return f"{duration_ms // UNITS_MS[unit]}{unit}"
    return f"{duration_ms / 1000:g}s"


def _one_or_more(raw: object) -> object:
    return [raw] if isinstance(raw, str) else raw


DurationMs = Annotated[
    int,
    BeforeValidator(parse_duration_ms),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
Id = Annotated[str, Field(pattern=ID_PATTERN)]
EventName = Annotated[str, Field(min_length=1, max_length=256)]
EventNames = Annotated[
    list[EventName],
    BeforeValidator(_one_or_more),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        }
    ),
]
Channel = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$")]
# A path into the event: `properties.amount`, `context.channel`, `traits.city`.
EventPath = Annotated[str, Field(min_length=1, max_length=256)]


class Match(Authored):
    """Events of a name (one of several, or "*" for all) that satisfy ``where``."""

    event: EventNames
    where: Where = Field(default_factory=anything)
