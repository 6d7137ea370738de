"""A planned event's contract, compiled: cleans the properties of one item and checks them.

Values are trimmed, brought to the plan's unit and to the enum's spelling before they are
checked; the check itself runs in pydantic's core. What is personal leaves as a keyed HMAC.
"""

from collections.abc import Callable, Iterable, Mapping
from math import ceil, floor
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from schemas.plan import MAX_ID, UNITS, PiiClass, Plan, PlannedEvent, PropertySpec
from schemas.rejects import Reject
from schemas.sources import Source
from streams.core.intake.identify import Identifier
from streams.core.intake.reject_reasons import reject_of

# Names in a mark's note; more say nothing new.
_SHOWN: Final = 16
# (what may come instead, the property, numerator, denominator, whether only whole values fit)
_Conversion = tuple[str, str, int, int, bool]


class Contract:
    """One event of the plan, ready to run on properties."""

    __slots__ = (
        "_closed",
        "_conversions",
        "_enums",
        "_known",
        "_others",
        "_pii",
        "_validate",
        "marks_only",
        "name",
        "seals",
        "sources",
    )

    def __init__(self, event: PlannedEvent) -> None:
        self.name, self.sources = event.name, event.sources
        self.marks_only = event.policy == "mark"
        self._closed, self._known = event.closed, event.properties.keys()
        fields = {name: _field(spec) for name, spec in event.properties.items()}
        schema = core_schema.typed_dict_schema(fields, extra_behavior="allow")
        self._validate = SchemaValidator(schema).validate_python
        self._conversions = _conversions(event.properties)
        self._others = frozenset(other for other, *_ in self._conversions)
        self._enums = {
            name: _spellings(spec.enum, spec.synonyms)
            for name, spec in event.properties.items()
            if spec.enum is not None
        }
        self._pii: tuple[tuple[str, PiiClass], ...] = tuple(
            (name, spec.pii)
            for name, spec in event.properties.items()
            if spec.pii is not None and spec.pii != "personal"
        )
        self.seals = bool(self._pii) or event.closed

    def source_problem(self, source: Source) -> Reject:
        """Return the reject of an item whose source is none of ``sources``."""
        allowed = ", ".join(sorted(self.sources))
        detail = f"{self.name} comes from {allowed}; this key speaks for {source}"
        return Reject("validate", "source_not_allowed", detail)

    def clean(self, properties: dict[str, Any]) -> tuple[dict[str, Any], Reject | None]:
        """Return the cleaned properties, and what is wrong with them if they break the plan."""
        if self._others and not self._others.isdisjoint(properties):
            _convert(properties, self._conversions)
        if self._enums:
            _spell(properties, self._enums)
        try:
            cleaned: dict[str, Any] = self._validate(properties)
        except ValidationError as error:
            return properties, reject_of(error, root="properties")
        return cleaned, None

    def seal(self, properties: dict[str, Any], identifier: Identifier) -> list[str]:
        """Take out, in place, what the plan does not let through; return the names removed."""
        removed = []
        for name, kind in self._pii:
            value = properties.pop(name, None)
            if value is None:
                continue
            if kind == "secret":
                removed.append(name)
            elif hashed := identifier.hmac_of("phone" if kind == "phone" else "email", value):
                properties[f"{name}_hmac"] = hashed
            else:
                removed.append(name)
        if self._closed:
            sealed = {f"{name}_hmac" for name, _ in self._pii}
            # The cleaner's own HMACs of phones and e-mails are not the producer's properties.
            sealed |= {"phone_hmac", "email_hmac"}
            strange = [n for n in properties if n not in self._known and n not in sealed]
            for name in strange:
                del properties[name]
            removed += strange
        return sorted(removed)[:_SHOWN]


def compile_plan(plan: Plan) -> Mapping[str, Contract]:
    """Return the contracts by event name."""
    return {name: Contract(event) for name, event in plan.events.items()}


def _convert(properties: dict[str, Any], conversions: Iterable[_Conversion]) -> None:
    """Move values in another unit to their properties; the plan's own name wins over them."""
    for other, name, numerator, denominator, whole in conversions:
        value = properties.get(other)
        if isinstance(value, bool) or not isinstance(value, int | float) or name in properties:
            continue
        del properties[other]
        converted = value * numerator / denominator
        properties[name] = int(converted) if whole and converted.is_integer() else converted


def _spell(properties: dict[str, Any], enums: Mapping[str, Mapping[str, str]]) -> None:
    """Bring texts to the spelling of their enum, where it knows them."""
    for name, spellings in enums.items():
        if isinstance(value := properties.get(name), str):
            text = value.strip()
            properties[name] = spellings.get(text.casefold(), text)


def _conversions(properties: Mapping[str, PropertySpec]) -> tuple[_Conversion, ...]:
    return tuple(
        (other, name, UNITS[unit][1], UNITS[spec.unit][1], spec.type == "integer")
        for name, spec in properties.items()
        if spec.unit is not None
        for other, unit in spec.other_units.items()
    )


def _spellings(enum: list[str], synonyms: Mapping[str, str]) -> dict[str, str]:
    """Return the enum's value by every spelling, in folded case; exact values come last and win."""
    return {
        **{synonym.strip().casefold(): value for synonym, value in synonyms.items()},
        **{value.casefold(): value for value in reversed(enum)},
    }


def _field(spec: PropertySpec) -> core_schema.TypedDictField:
    schema = _TYPES[spec.type](spec)
    if not spec.required:
        schema = core_schema.nullable_schema(schema)
    return core_schema.typed_dict_field(schema, required=spec.required)


def _text(spec: PropertySpec) -> CoreSchema:
    if spec.enum is not None:
        return core_schema.literal_schema(list(spec.enum))
    low, high = (1, MAX_ID) if spec.type == "id" else (None, None)
    return core_schema.str_schema(
        strict=True,
        strip_whitespace=True,
        min_length=low if spec.min is None else int(spec.min),
        max_length=high if spec.max is None else int(spec.max),
    )


def _integer(spec: PropertySpec) -> CoreSchema:
    return core_schema.int_schema(
        strict=True,
        ge=None if spec.min is None else ceil(spec.min),
        le=None if spec.max is None else floor(spec.max),
    )


def _number(spec: PropertySpec) -> CoreSchema:
    """Return a schema that leaves whole numbers whole, and says one thing where neither fits."""
    number = core_schema.float_schema(strict=True, allow_inf_nan=False, ge=spec.min, le=spec.max)
    limits = ["must be a number"]
    limits += [f"in {spec.unit}"] if spec.unit else []
    limits += [f"from {spec.min:g}"] if spec.min is not None else []
    limits += [f"up to {spec.max:g}"] if spec.max is not None else []
    return core_schema.union_schema(
        [_integer(spec), number],
        mode="left_to_right",
        custom_error_type="number",
        custom_error_message=" ".join(limits),
    )


def _array(spec: PropertySpec) -> CoreSchema:
    kinds: dict[str, CoreSchema] = {
        "string": core_schema.str_schema(strict=True, strip_whitespace=True),
        "number": _number(PropertySpec(type="number")),
        "object": core_schema.dict_schema(core_schema.str_schema()),
        "any": core_schema.any_schema(),
    }
    return core_schema.list_schema(kinds[spec.items], strict=True)


_TYPES: Final[dict[str, Callable[[PropertySpec], CoreSchema]]] = {
    "string": _text,
    "id": _text,
    "number": _number,
    "integer": _integer,
    "boolean": lambda _: core_schema.bool_schema(strict=True),
    "array": _array,
    "object": lambda _: core_schema.dict_schema(core_schema.str_schema(), strict=True),
}
