"""What a path can hold, as far as the tracking plan and the kinds of tags say it."""

from collections.abc import Iterable
from typing import Final

from schemas.plan import Plan
from schemas.tags import Tag
from streams.core.language.conditions import ORDERED, Compare, Ref, Scalar
from streams.core.language.fault import Fault, suggest
from streams.core.tags.catalogue import spec_of
from streams.core.tags.kind_spec import Holds, Type

_PLANNED: Final[dict[str, Type]] = {
    "string": "text", "id": "text", "number": "number", "integer": "number",
    "boolean": "true or false", "array": "list",
}  # fmt: skip


def of_tag(tag: Tag, part: str) -> Holds | None:
    """Return what a tag (or a part of its value) holds; ``None`` if anything may be there."""
    spec = spec_of(tag)
    return spec.parts.get(part, spec.each_part) if part else spec.holds(tag)


def of_property(plan: Plan, events: Iterable[str], name: str) -> Holds | None:
    """Return what a property holds, if all events that have it agree."""
    found: set[Holds | None] = set()
    for event in events:
        planned = plan.events.get(event)
        spec = planned.properties.get(name) if planned else None
        held = _PLANNED.get(spec.type) if spec else None
        found.add(Holds(held, tuple(spec.enum or ())) if spec and held else None)
    return found.pop() if len(found) == 1 else None


def check(leaf: Compare, holds: Holds | None) -> None:
    """Raise ``Fault`` if a comparison can never be true for its type."""
    if holds is None or leaf.op == "exists":
        return
    if leaf.op == "has":
        if holds.type != "list":
            raise Fault(leaf.left.place, f"{leaf.left} is no list: has never holds", "write eq")
        return
    if holds.type == "list":
        raise Fault(leaf.left.place, f"{leaf.left} is a list", "write {has: ..}")
    if leaf.op == "starts_with" and holds.type != "text":
        raise Fault(leaf.left.place, f"{leaf.left} is {holds.type}, no text")
    if leaf.op in ORDERED and holds.type == "true or false":
        raise Fault(leaf.left.place, f"{leaf.left} is true or false: {leaf.op} never holds")
    values = leaf.right if isinstance(leaf.right, tuple) else (leaf.right,)
    for value in values:
        if not isinstance(value, Ref):
            _check_value(leaf, holds, value)


def _check_value(leaf: Compare, holds: Holds, value: Scalar) -> None:
    kind: Type = "number"
    if isinstance(value, bool):
        kind = "true or false"
    elif isinstance(value, str):
        kind = "text"
    if kind != holds.type:
        hint = {"number": "write it without quotes", "text": "quote it"}.get(holds.type, "")
        problem = f"{leaf.left} is {_article(holds.type)}, {value!r} is {_article(kind)}"
        raise Fault(leaf.left.place, problem, hint)
    if holds.values and value not in holds.values and leaf.op in ("eq", "ne", "in"):
        hint = suggest(str(value), holds.values) or f"it is one of {', '.join(holds.values)}"
        raise Fault(leaf.left.place, f"{leaf.left} is never {value}", hint)


def _article(held: Type) -> str:
    return held if held == "true or false" else f"a {held}"
