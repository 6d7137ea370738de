"""The tracking plan, read: YAML files to ``schemas.plan.Plan``, each fault with file and line."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from schemas.errors import ConfigInvalid
from schemas.faults import Fault, Place, suggest
from schemas.plan import (
    ANY_SOURCE,
    UNITS,
    Defaults,
    EventSpec,
    Plan,
    PlanFile,
    PlannedEvent,
    PropertySpec,
)
from schemas.settings import SHIPPED_PLAN
from streams.authoring.yaml_source import Located, read_yaml, yaml_files

_NUMBERS: Final = ("number", "integer")
_TEXTS: Final = ("string", "id")
_KEYS: Final = frozenset(
    field.alias or name
    for model in (PlanFile, Defaults, EventSpec, PropertySpec)
    for name, field in model.model_fields.items()
)


def load_plan(path: Path) -> Plan:
    """Return the plan of a folder or file; raises ``ConfigInvalid`` for its first fault."""
    plan, faults = read_plan(path)
    if faults:
        raise faults[0]
    return plan


@lru_cache(maxsize=1)
def shipped_plan() -> Plan:
    """Return the plan that comes with Siyu."""
    return load_plan(SHIPPED_PLAN)


def read_plan(path: Path) -> tuple[Plan, list[ConfigInvalid]]:
    """Return the plan and all faults in its files, in their order."""
    files = yaml_files(path)
    if not files:
        hint = "set SIYU_PLAN to a folder that holds the events"
        return Plan(), [ConfigInvalid(path, "no plan: there is no .yaml file", hint=hint)]
    faults: list[ConfigInvalid] = []
    reads = []
    broken: set[str] = set()
    for file in files:
        located = Located(file, None)
        try:
            located = read_yaml(file)
            reads.append((located, PlanFile.model_validate(located.data)))
        except ConfigInvalid as unreadable:
            faults.append(unreadable)
            return Plan(), faults  # what other files take from it is not known
        except ValidationError as invalid:
            faults.extend(_explained(located, invalid))
            content, names = _without_wrong_events(located, invalid)
            reads.append((located, content))
            broken |= names
    specs = {name: spec for _, content in reads for name, spec in content.events.items()}
    defaults, taken = Defaults(), dict[str, Path]()
    for located, content in reads:
        defaults = content.defaults or defaults
        for fault in _faults(content, specs, taken, located.path, broken):
            where = ".".join(str(step) for step in fault.place[1:])
            faults.append(located.invalid(fault, where))
    if faults:
        return Plan(), faults
    return _resolved(specs, defaults), []


def _without_wrong_events(located: Located, invalid: ValidationError) -> tuple[PlanFile, set[str]]:
    """Return a file without its wrong events and keys, and the names of those events."""
    data = located.data if isinstance(located.data, dict) else {}
    places = [error["loc"] for error in invalid.errors(include_url=False)]
    broken = {str(place[1]) for place in places if place[:1] == ("events",) and len(place) > 1}
    keys = {place[0] for place in places if place and (place[0] != "events" or len(place) == 1)}
    rest = {key: value for key, value in data.items() if key not in {*keys, "events"}}
    events = data.get("events") if "events" not in keys else None
    if isinstance(events, dict):
        rest["events"] = {name: spec for name, spec in events.items() if name not in broken}
    return PlanFile.model_validate(rest), broken


def _resolved(specs: dict[str, EventSpec], defaults: Defaults) -> Plan:
    events = {}
    for name, spec in specs.items():
        sources = frozenset(spec.sources) if spec.sources else ANY_SOURCE
        events[name] = PlannedEvent(
            name=name,
            description=spec.description,
            version=spec.version,
            sources=sources,
            policy=spec.policy or defaults.policy,
            closed=spec.closed,
            properties=_properties(spec, specs),
        )
    return Plan(events, defaults.unplanned)


def _properties(spec: EventSpec, specs: dict[str, EventSpec]) -> dict[str, PropertySpec]:
    if spec.like is None:
        return spec.properties
    return {**_properties(specs[spec.like], specs), **spec.properties}


def _faults(
    content: PlanFile,
    specs: dict[str, EventSpec],
    taken: dict[str, Path],
    path: Path,
    broken: set[str],
) -> Iterator[Fault]:
    for name, spec in content.events.items():
        place: Place = ("events", name)
        if name in taken:
            problem = f"the event stands in {taken[name].name} already"
            yield Fault(place, problem, "an event has one place")
        taken[name] = path
        yield from _like_faults(name, spec, specs, (*place, "like"), broken)
        for prop, property_ in spec.properties.items():
            yield from _property_faults(prop, property_, spec, (*place, "properties", prop))


def _like_faults(
    name: str, spec: EventSpec, specs: dict[str, EventSpec], place: Place, broken: set[str]
) -> Iterator[Fault]:
    seen = {name}
    while spec.like is not None and spec.like not in broken:
        if spec.like not in specs:
            yield Fault(place, f"unknown event {spec.like}", suggest(spec.like, specs))
            return
        if spec.like in seen:
            yield Fault(place, "the chain of `like` comes back to this event")
            return
        seen.add(spec.like)
        spec = specs[spec.like]


def _property_faults(
    name: str, spec: PropertySpec, event: EventSpec, place: Place
) -> Iterator[Fault]:
    if spec.enum is not None and spec.type not in _TEXTS:
        yield Fault((*place, "enum"), f"an enum lists texts, and {name} is {spec.type}")
    for synonym, value in spec.synonyms.items():
        if value not in (spec.enum or ()):
            hint = suggest(value, spec.enum or ()) or "list it under enum"
            yield Fault((*place, "synonyms", synonym), f"{value} is not in the enum", hint)
    if spec.unit is not None and spec.type not in _NUMBERS:
        yield Fault((*place, "unit"), f"only a number has a unit, and {name} is {spec.type}")
    for other, unit in spec.other_units.items():
        if spec.unit is None or UNITS[unit][0] != UNITS[spec.unit][0]:
            hint = "give `unit`, of the same dimension"
            yield Fault((*place, "from", other), f"{unit} does not become {spec.unit}", hint)
        if other in event.properties:
            yield Fault((*place, "from", other), f"{other} is a property of its own")
    yield from _type_faults(name, spec, place)


def _type_faults(name: str, spec: PropertySpec, place: Place) -> Iterator[Fault]:
    if spec.min is not None and spec.max is not None and spec.min > spec.max:
        yield Fault((*place, "min"), f"min {spec.min} is over max {spec.max}")
    if spec.type not in (*_NUMBERS, *_TEXTS) and (spec.min, spec.max) != (None, None):
        yield Fault(place, f"min and max bound numbers and texts, and {name} is {spec.type}")
    if spec.type in _TEXTS and min(spec.min or 0, spec.max or 0) < 0:
        yield Fault(place, f"min and max of a text are its length, and {name} has one below 0")
    if spec.items != "any" and spec.type != "array":
        yield Fault((*place, "items"), f"only an array has items, and {name} is {spec.type}")
    if spec.pii in ("phone", "email") and spec.type not in (*_TEXTS, "integer"):
        yield Fault((*place, "pii"), f"a {spec.pii} is a text, and {name} is {spec.type}")


def _explained(located: Located, invalid: ValidationError) -> Iterable[ConfigInvalid]:
    for error in invalid.errors(include_url=False):
        place = tuple(step for step in error["loc"] if step != "[key]")
        key, problem, hint = str(place[-1]) if place else "", error["msg"], ""
        if error["type"] == "extra_forbidden":
            problem, hint = f"unknown key {key}", suggest(key, _KEYS)
        elif error["type"] == "missing":
            problem = f"{key} is missing"
        elif error["type"] == "literal_error":
            expected = str(error.get("ctx", {}).get("expected", ""))
            words = expected.replace("'", "").replace(" or ", ", ").split(", ")
            problem = f"{key} cannot be {error['input']}"
            hint = suggest(str(error["input"]), words) or f"one of {', '.join(words)}"
        elif error["type"] == "string_type" and isinstance(error["input"], bool | int | float):
            problem, hint = f"{error['input']} is not text", "quote it"
        here = ".".join(str(step) for step in located.nearest(place)[1:])
        yield ConfigInvalid(
            located.path,
            f"{here}: {problem}" if here else problem,
            hint=hint,
            line=located.line(place),
        )
