"""The tracking plan (埋点方案): what each event holds, who may send it, how strictly it is kept.

One YAML folder (``SIYU_PLAN``) is the only table of known events: validation, cleaning,
the rulebook's checks, JSON Schema and AsyncAPI read it. Loaded by ``streams.authoring.plan``.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field

from schemas.authoring import Authored
from schemas.sources import Source

# id: text of 1 to 256 characters. Types are strict: "99.5" is no number.
PropertyType = Literal["string", "id", "number", "integer", "boolean", "array", "object"]
# phone, email: kept as `<name>_hmac` alone; secret: never kept; personal: kept, and named in
# the schema, so that an erasure knows of it.
PiiClass = Literal["phone", "email", "secret", "personal"]
# enforce: an item that breaks the plan is rejected; mark: it passes with the mark off_plan.
Policy = Literal["enforce", "mark"]
Unit = Literal[
    "yuan",
    "fen",
    "ms",
    "s",
    "min",
    "h",
    "d",
    "mm",
    "cm",
    "m",
    "km",
    "g",
    "kg",
    "percent",
    "ratio",
    "degree",
    "point",
]
# Dimension, and how many of its smallest unit make one: exact, unlike factors below 1.
UNITS: Final[dict[Unit, tuple[str, int]]] = {
    "fen": ("money", 1),
    "yuan": ("money", 100),
    "ms": ("time", 1),
    "s": ("time", 1000),
    "min": ("time", 60_000),
    "h": ("time", 3_600_000),
    "d": ("time", 86_400_000),
    "mm": ("length", 1),
    "cm": ("length", 10),
    "m": ("length", 1000),
    "km": ("length", 1_000_000),
    "g": ("mass", 1),
    "kg": ("mass", 1000),
    "percent": ("share", 1),
    "ratio": ("share", 100),
    "degree": ("angle", 1),
    "point": ("points", 1),
}
ANY_SOURCE: Final[frozenset[Source]] = frozenset(get_args(Source))
MAX_ID: Final = 256
Name = Annotated[str, Field(min_length=1, max_length=128)]


class PropertySpec(Authored):
    """One property: its type and bounds, and what a producer may send instead.

    ``enum`` lists the values that are kept; another case and ``synonyms`` become one of
    them. ``from`` names properties that hold the same in another unit. ``min`` and
    ``max`` bound a number, or the length of a text.
    """

    type: PropertyType
    required: bool = False
    description: str = ""
    enum: Annotated[list[str], Field(min_length=1)] | None = None
    synonyms: dict[str, str] = Field(default_factory=dict)
    unit: Unit | None = None
    other_units: dict[Name, Unit] = Field(default_factory=dict, alias="from")
    min: float | int | None = None
    max: float | int | None = None
    items: Literal["string", "number", "object", "any"] = "any"
    pii: PiiClass | None = None


class EventSpec(Authored):
    """One event. ``like`` takes over another's properties; ``closed`` lets no others through.

    ``version`` goes up with a change that breaks producers or readers of the event.
    """

    description: str = ""
    version: Annotated[int, Field(ge=1)] = 1
    sources: Annotated[list[Source], Field(min_length=1)] | None = None
    policy: Policy | None = None
    closed: bool = False
    like: Name | None = None
    properties: dict[Name, PropertySpec] = Field(default_factory=dict)


class Defaults(Authored):
    """``policy`` of events that name none; ``unplanned``: what becomes of events not in the plan.

    ``mark``: they pass with the mark ``uncatalogued``; ``reject``: they do not.
    """

    policy: Policy = "enforce"
    unplanned: Literal["mark", "reject"] = "mark"


class PlanFile(Authored):
    """One file of the plan's folder; ``defaults`` may stand in one of them."""

    defaults: Defaults | None = None
    events: dict[Name, EventSpec] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """One event of the plan with all defaults filled in."""

    name: str
    description: str
    version: int
    sources: frozenset[Source]
    policy: Policy
    closed: bool
    properties: dict[str, PropertySpec]


@dataclass(frozen=True, slots=True)
class Plan:
    """All events by name, and what becomes of those that are not in it."""

    events: dict[str, PlannedEvent] = field(default_factory=dict)
    unplanned: Literal["mark", "reject"] = "mark"


_JSON_TYPES: Final = {"id": "string"}


def event_schema(event: PlannedEvent) -> dict[str, Any]:
    """Return the JSON Schema of an event's properties, as producers may send them."""
    required = [name for name, spec in event.properties.items() if spec.required]
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": event.name,
        "description": event.description,
        "type": "object",
        "properties": {name: _schema(spec) for name, spec in event.properties.items()},
        "required": required,
        "x-sources": sorted(event.sources),
        "x-policy": event.policy,
        "x-version": event.version,
        "x-closed": event.closed,
    }
    return schema


def _schema(spec: PropertySpec) -> dict[str, Any]:
    kind = _JSON_TYPES.get(spec.type, spec.type)
    # Absence may be said by null, except where the property is required.
    schema: dict[str, Any] = {"type": kind if spec.required else [kind, "null"]}
    if spec.description or spec.unit:
        phrases = [spec.description, f"in {spec.unit}" if spec.unit else ""]
        schema["description"] = ", ".join(part for part in phrases if part)
    if spec.enum is not None:
        schema["enum"] = spec.enum if spec.required else [*spec.enum, None]
    if spec.type == "id":
        schema |= {"minLength": 1, "maxLength": MAX_ID}
    if spec.type == "array" and spec.items != "any":
        schema["items"] = {"type": spec.items}
    low, high = ("minLength", "maxLength") if kind == "string" else ("minimum", "maximum")
    schema |= {
        key: value for key, value in ((low, spec.min), (high, spec.max)) if value is not None
    }
    extras = {
        "x-unit": spec.unit,
        "x-pii": spec.pii,
        "x-from": spec.other_units or None,
        "x-synonyms": spec.synonyms or None,
    }
    return schema | {key: value for key, value in extras.items() if value is not None}
