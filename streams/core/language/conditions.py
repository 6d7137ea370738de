"""Conditions: what authors write in ``where`` and ``audience``, parsed into a small tree.

Grammar: a mapping holds ``all: [..]``, ``any: [..]``, ``not: ..`` or a path with a value
(equality) or with operators; several keys mean all of them. A comparison on a missing
field is false, ``ne`` too; only ``exists: false`` holds for it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streams.core.language.fault import Fault, Place, suggest

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
    """Return the tree of a condition; raises ``Fault`` with the place of the wrong part."""
    if not isinstance(raw, dict):
        raise Fault(place, "a condition is a mapping, like {properties.amount: {gte: 50}}")
    parts = tuple(
        part for key, value in raw.items() for part in _pair(key, value, (*place, key), tags=tags)
    )
    return parts[0] if len(parts) == 1 else Group(every=True, parts=parts)


def _pair(key: str, value: object, place: Place, *, tags: bool) -> list[Node]:
    if key in ("all", "any"):
        if not isinstance(value, list) or not value:
            raise Fault(place, f"{key} wants a list of conditions")
        parts = tuple(parse(one, (*place, i), tags=tags) for i, one in enumerate(value))
        return [Group(every=key == "all", parts=parts)]
    if key == "not":
        return [Not(parse(value, place, tags=tags))]
    left = parse_ref(key, place, tags=tags)
    if not isinstance(value, dict):
        return [_compare(left, "eq", value, place, tags=tags)]
    if not value:
        raise Fault(place, f"{key} has no operator", f"one of {', '.join(OPS)}")
    return [_compare(left, op, one, (*place, op), tags=tags) for op, one in value.items()]


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
        return Compare(left, op, tuple(_scalar(one, (*place, i)) for i, one in enumerate(raw)))
    if isinstance(raw, str) and raw.startswith(("$event.", "$tag.")):
        return Compare(
            left,
            op,
            parse_ref(raw.removeprefix("$"), place, tags=tags)
            if raw.startswith("$tag.")
            else parse_ref(raw, place, tags=tags),
        )
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
