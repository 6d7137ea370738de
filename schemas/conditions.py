"""Conditions: what authors write in ``where`` and ``audience``, parsed into a small tree.

Grammar: a mapping holds ``all: [..]``, ``any: [..]``, ``not: ..`` or a path with a value
(equality) or with operators; several keys mean all of them. A comparison on a missing
field is false, ``ne`` too; only ``exists: false`` holds for it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from schemas.faults import Fault, Place, suggest

Scalar = str | int | float | bool
ORDERED: Final = ("gt", "gte", "lt", "lte")
OPS: Final = ("eq", "ne", *ORDERED, "in", "has", "exists", "starts_with")
NESTED_ROOTS: Final = ("properties", "context", "traits", "identities")
PLAIN_ROOTS: Final = ("event", "type", "source", "door", "account")


@dataclass(frozen=True, slots=True)
class Ref:
    """A path: ``root`` is a field of the event or ``tag``; ``path`` goes on inside it."""

    root: str
    path: tuple[str, ...]
    place: Place = ()

    def __str__(self) -> str:
        return ".".join((self.root, *self.path))


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison; ``right`` is a value, several (``in``) or another path."""

    left: Ref
    op: str
    right: Scalar | tuple[Scalar, ...] | Ref

    def __str__(self) -> str:
        if isinstance(self.right, Ref):
            prefix = "$" if self.right.root == "tag" else "$event."
            return f"{self.left} {self.op} {prefix}{self.right}"
        right = list(self.right) if isinstance(self.right, tuple) else self.right
        return f"{self.left} {self.op} {right}"


@dataclass(frozen=True, slots=True)
class Group:
    """``all`` or ``any`` of parts; an empty ``all`` is true."""

    every: bool
    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a part."""

    part: "Node"


Node = Compare | Group | Not


def leaves(node: Node) -> Iterator[Compare]:
    """Yield the comparisons of a tree in the order in which they are written."""
    if isinstance(node, Compare):
        yield node
    elif isinstance(node, Not):
        yield from leaves(node.part)
    else:
        for part in node.parts:
            yield from leaves(part)


def refs(node: Node) -> Iterator[Ref]:
    """Yield every path that a tree reads."""
    for leaf in leaves(node):
        yield leaf.left
        if isinstance(leaf.right, Ref):
            yield leaf.right


def parse_ref(text: str, place: Place, *, tags: bool) -> Ref:
    """Return the path that a text spells; ``tags`` says whether ``tag.x`` may stand there."""
    root, *path = text.removeprefix("$event.").split(".")
    if root == "tag" and not tags:
        raise Fault(place, f"{text}: tags can be read in audience only")
    if root == "tag" and path and all(path):
        return Ref(root, tuple(path), place)
    if (root in NESTED_ROOTS and path and all(path)) or (root in PLAIN_ROOTS and not path):
        return Ref(root, tuple(path), place)
    known = [*NESTED_ROOTS, *PLAIN_ROOTS, "tag"]
    hint = suggest(root, known) or "a path is properties.x, context.x, traits.x, tag.x or event"
    raise Fault(place, f"{text} is not a path", hint)


def parse(raw: object, place: Place, *, tags: bool) -> Node:
    """Return the tree of a condition; raises ``Fault`` for the first wrong part."""
    parser = _Parser(tags=tags)
    node = parser.node(raw, place)
    if parser.faults:
        raise parser.faults[0]
    return node


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A condition of an author: its tree, with places from its own root, and what was written.

    Two are equal where the same was written; ``raw`` is what a version of a rule is a hash of.
    """

    raw: dict[str, Any]
    node: Node

    @classmethod
    def parse(cls, raw: object, *, tags: bool) -> Self:
        """Return the parsed condition; ``tags`` says whether it may read tags.

        Raises ``ConditionInvalid`` with all that is wrong.
        """
        parser = _Parser(tags=tags)
        node = parser.node(raw, ())
        if parser.faults:
            raise ConditionInvalid(parser.faults)
        return cls(raw if isinstance(raw, dict) else {}, node)

    def __bool__(self) -> bool:
        """Say whether anything is asked."""
        return bool(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(repr(self.raw))

    def refs(self) -> Iterator[Ref]:
        """Yield every path that it reads."""
        return refs(self.node)


class ConditionInvalid(ValueError):
    """A condition that cannot be parsed: all its faults, with places from its own root."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults[0].problem)
        self.faults = tuple(faults)


def _validated(*, tags: bool) -> Callable[[object], Condition]:
    def validate(raw: object) -> Condition:
        if isinstance(raw, Condition):
            return raw
        try:
            return Condition.parse(raw, tags=tags)
        except ConditionInvalid as invalid:
            faults = {"faults": invalid.faults}
            raise PydanticCustomError("condition", "a wrong condition", faults) from invalid

    return validate


def _asks(condition: Condition) -> Condition:
    if not condition:
        raise PydanticCustomError("empty_condition", "a condition asks something")
    return condition


def _written(condition: Condition) -> dict[str, Any]:
    return condition.raw


_JSON: Final = (
    PlainSerializer(_written),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
)
# Of an event alone.
Where = Annotated[Condition, PlainValidator(_validated(tags=False)), *_JSON]
# Of the user's tags, and of the event where there is one.
Audience = Annotated[Condition, PlainValidator(_validated(tags=True)), *_JSON]
Asking = AfterValidator(_asks)


def faults_of(error: Mapping[str, Any]) -> tuple[Fault, ...]:
    """Return the faults of a wrong condition from one of pydantic's errors; none if it is other."""
    return tuple(error["ctx"]["faults"]) if error["type"] == "condition" else ()


def anything() -> Condition:
    """Return the condition that always holds."""
    return Condition.parse({}, tags=False)


class _Parser:
    """Parses one condition; a wrong part is noted and left out, so that all are seen at once."""

    def __init__(self, *, tags: bool) -> None:
        self._tags = tags
        self.faults: list[Fault] = []

    def node(self, raw: object, place: Place) -> Node:
        """Return the tree of what is right in a condition."""
        parts: list[Node] = []
        if not isinstance(raw, dict):
            problem = "a condition is a mapping, like {properties.amount: {gte: 50}}"
            self.faults.append(Fault(place, problem))
            return Group(every=True, parts=())
        for key, value in raw.items():
            try:
                parts += self._pair(key, value, (*place, key))
            except Fault as fault:
                self.faults.append(fault)
        return parts[0] if len(parts) == 1 else Group(every=True, parts=tuple(parts))

    def _pair(self, key: str, value: object, place: Place) -> list[Node]:
        if key in ("all", "any"):
            if not isinstance(value, list) or not value:
                raise Fault(place, f"{key} wants a list of conditions")
            parts = tuple(self.node(part, (*place, i)) for i, part in enumerate(value))
            return [Group(every=key == "all", parts=parts)]
        if key == "not":
            return [Not(self.node(value, place))]
        left = parse_ref(key, place, tags=self._tags)
        if not isinstance(value, dict):
            return [_compare(left, "eq", value, place, tags=self._tags)]
        if not value:
            raise Fault(place, f"{key} has no operator", f"one of {', '.join(OPS)}")
        compares: list[Node] = []
        for op, right in value.items():
            try:
                compares.append(_compare(left, op, right, (*place, op), tags=self._tags))
            except Fault as fault:
                self.faults.append(fault)
        return compares


def _compare(left: Ref, op: str, raw: object, place: Place, *, tags: bool) -> Compare:
    if op not in OPS:
        hint = suggest(op, OPS) or f"one of {', '.join(OPS)}"
        raise Fault(place, f"unknown operator {op}", hint)
    if op == "exists":
        if not isinstance(raw, bool):
            raise Fault(place, "exists wants true or false")
        return Compare(left, op, raw)
    if op == "in":
        if not isinstance(raw, list) or not raw:
            raise Fault(place, "in wants a list of values")
        return Compare(left, op, tuple(_scalar(value, (*place, i)) for i, value in enumerate(raw)))
    if isinstance(raw, str) and raw.startswith(("$event.", "$tag.")):
        path = raw.removeprefix("$") if raw.startswith("$tag.") else raw
        return Compare(left, op, parse_ref(path, place, tags=tags))
    value = _scalar(raw, place)
    _check_type(op, value, place)
    return Compare(left, op, value)


def _check_type(op: str, value: Scalar, place: Place) -> None:
    if op in ORDERED and isinstance(value, bool):
        raise Fault(place, f"{op} compares numbers or texts, not {value}")
    if op == "starts_with" and not isinstance(value, str):
        raise Fault(place, "starts_with wants a text", "quote it")


def _scalar(raw: object, place: Place) -> Scalar:
    if isinstance(raw, list):
        raise Fault(place, "a list is not a value here", "write {in: [..]}")
    if raw is None:
        raise Fault(place, "null is not a value", "write {exists: false}")
    if not isinstance(raw, str | int | float | bool):
        raise Fault(place, f"{raw} is not a text, number, true or false", "quote it")
    if isinstance(raw, float) and not math.isfinite(raw):
        raise Fault(place, f"{raw} is not a number that an event can hold")
    return raw
