"""Tags made of other tags: named cases by condition, or a number computed of numbers.

Nothing is kept but what was last shown: a value is computed again at each read, so late events
and merges count as they do in the tags read. It is missing until one of those has seen
something, and is written when an event of theirs, or time, moves it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from schemas.conditions import Ref, parse_ref
from schemas.faults import Fault, Place, suggest
from schemas.segments import SegmentTag
from schemas.tags import MadeTag
from streams.core.language.compile import NUMBERS, ReadTag, tag_predicate
from streams.core.tags.kinds.value_tier_spec import ValueTierTag
from streams.core.tags.values import MAX_AMOUNT

Maker = Callable[[ReadTag], object]
OPS: Final = ("add", "subtract", "multiply", "divide")
_MAX_DEPTH: Final = 8


def expr_refs(tag: MadeTag) -> Iterator[Ref]:
    """Yield every path that an expr reads, with its place in the tag."""
    if isinstance(tag, ValueTierTag):
        yield parse_ref(tag.of, ("of",), tags=True)
        return
    for i, case in enumerate(tag.cases):
        for name, condition in case.items():
            for ref in condition.refs():
                yield replace(ref, place=("cases", i, name, *ref.place))
    if tag.compute is not None:
        yield from _operands(tag.compute, ("compute",), _MAX_DEPTH)


def make_expr(tag: MadeTag) -> Maker:
    """Return the function that makes the value of an expr, ``None`` where it has none."""
    if tag.compute is not None:
        return _compute(tag.compute)
    if isinstance(tag, SegmentTag):
        member = tag_predicate(tag.where.node)
        return lambda read: True if member(read) else None
    cases = [
        (name, tag_predicate(condition.node))
        for case in tag.cases
        for name, condition in case.items()
    ]

    def choose(read: ReadTag) -> object:
        return next((name for name, holds in cases if holds(read)), tag.otherwise)

    return choose


def _operands(raw: object, place: Place, depth: int) -> Iterator[Ref]:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return
    if isinstance(raw, str):
        yield parse_ref(raw, place, tags=True)
        return
    if not isinstance(raw, dict) or len(raw) != 1 or not depth:
        raise Fault(place, "compute wants a tag, a number or an operation", "{divide: [tag.a, 2]}")
    ((op, parts),) = raw.items()
    if op not in OPS:
        hint = suggest(str(op), OPS) or f"one of {', '.join(OPS)}"
        raise Fault((*place, op), f"unknown operation {op}", hint)
    if not isinstance(parts, list) or len(parts) != 2:  # noqa: PLR2004 - both sides of the sign
        raise Fault((*place, op), f"{op} wants a list of two", "nest it for more")
    for i, part in enumerate(parts):
        yield from _operands(part, (*place, op, i), depth - 1)


def _compute(raw: object) -> Maker:
    number = _number(raw)

    def compute(read: ReadTag) -> object:
        value = number(read)
        if value is None:
            return None
        value = round(max(-MAX_AMOUNT, min(MAX_AMOUNT, value)), 4)
        return int(value) if float(value).is_integer() else value

    return compute


def _number(raw: object) -> Callable[[ReadTag], float | None]:
    if isinstance(raw, dict):
        ((op, (first, second)),) = raw.items()
        left, right = _number(first), _number(second)
        return lambda read: _apply(op, left(read), right(read))
    if isinstance(raw, str):
        _, *path = raw.split(".")
        return lambda read: _step(read(path[0]), path[1:])
    fixed = float(raw) if isinstance(raw, int | float) else None
    return lambda _read: fixed


def _step(value: object, path: list[str]) -> float | None:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return float(value) if type(value) in NUMBERS else None  # type: ignore[arg-type]  # a number


def _apply(op: str, left: float | None, right: float | None) -> float | None:
    """Return the result; ``None`` where a side is missing or the divisor is 0."""
    if left is None or right is None:
        return None
    if op == "divide":
        return left / right if right else None
    return {"add": left + right, "subtract": left - right, "multiply": left * right}[op]
