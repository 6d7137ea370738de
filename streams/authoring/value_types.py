"""What a path can hold, as far as the tracking plan and the kinds of tags say it."""

from collections.abc import Iterable, Iterator
from typing import Final

from schemas.conditions import ORDERED, Compare, Ref, Scalar
from schemas.faults import Fault, suggest
from schemas.plan import Plan
from schemas.tags import Tag
from streams.core.tags.catalogue import spec_of
from streams.core.tags.kind_spec import Holds, Type

_PLANNED: Final[dict[str, Type]] = {
    "string": "text",
    "id": "text",
    "number": "number",
    "integer": "number",
    "boolean": "true or false",
    "array": "list",
}


def of_tag(tag: Tag, part: str) -> Holds | None:
    """Return what a tag (or a part of its value) holds; ``None`` if anything may be there."""
    spec = spec_of(tag)
    return spec.parts.get(part, spec.each_part) if part else spec.holds(tag)


def of_property(plan: Plan, events: Iterable[str], name: str) -> Holds | None:
    """Return what a property holds, if all events that have it agree."""
    types: set[Holds | None] = set()
    for event in events:
        planned = plan.events.get(event)
        spec = planned.properties.get(name) if planned else None
        kind = _PLANNED.get(spec.type) if spec else None
        types.add(Holds(kind, tuple(spec.enum or ())) if spec and kind else None)
    return types.pop() if len(types) == 1 else None


def check(leaf: Compare, holds: Holds | None) -> Iterator[Fault]:
    """Yield why a comparison can never be true for its type."""
    if holds is None or leaf.op == "exists":
        return
    place = leaf.left.place
    if leaf.op == "has":
        if holds.type != "list":
            yield Fault(place, f"{leaf.left} is no list: has never holds", "write eq")
    elif holds.type == "list":
        yield Fault(place, f"{leaf.left} is a list", "write {has: ..}")
    elif leaf.op == "starts_with" and holds.type != "text":
        yield Fault(place, f"{leaf.left} is {holds.type}, no text")
    elif leaf.op in ORDERED and holds.type == "true or false":
        yield Fault(place, f"{leaf.left} is true or false: {leaf.op} never holds")
    else:
        values = leaf.right if isinstance(leaf.right, tuple) else (leaf.right,)
        for value in values:
            if not isinstance(value, Ref):
                yield from _check_value(leaf, holds, value)


def _check_value(leaf: Compare, holds: Holds, value: Scalar) -> Iterator[Fault]:
    kind: Type = "number"
    if isinstance(value, bool):
        kind = "true or false"
    elif isinstance(value, str):
        kind = "text"
    if kind != holds.type:
        hint = {"number": "write it without quotes", "text": "quote it"}.get(holds.type, "")
        problem = f"{leaf.left} is {_article(holds.type)}, {value!r} is {_article(kind)}"
        yield Fault(leaf.left.place, problem, hint)
    elif holds.values and value not in holds.values and leaf.op in ("eq", "ne", "in"):
        hint = suggest(str(value), holds.values) or f"it is one of {', '.join(holds.values)}"
        yield Fault(leaf.left.place, f"{leaf.left} is never {value}", hint)


def _article(type_name: Type) -> str:
    return type_name if type_name == "true or false" else f"a {type_name}"
