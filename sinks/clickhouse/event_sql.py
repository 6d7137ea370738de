"""Conditions and values of events as SQL, written apart from the engine.

Texts of authors go in as quoted literals.
"""

from collections.abc import Sequence
from typing import Any, Final

from schemas.conditions import Compare, Condition, Node, Not, Ref
from schemas.tags import SILENT

_MAPPINGS: Final = ("properties", "context", "traits")
_ORDERED: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class NotInSql(Exception):
    """A definition that there is no SQL for."""


def raw(path: str) -> str:
    """Return the JSON text of a path of an event, empty where it is missing."""
    root, *steps = path.split(".")
    if root in _MAPPINGS:
        return f"JSONExtractRaw({root}, {', '.join(map(quote, steps))})"
    if root == "identities":
        name = quote(".".join(steps))
        return f"if(mapContains(identities, {name}), toJSONString(identities[{name}]), '')"
    return f"toJSONString({root}::String)"


def quote(text: str) -> str:
    """Return a text as a literal of ClickHouse."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def holds(node: Node) -> str:
    """Return the SQL of a condition; raises ``NotInSql`` where it compares two paths."""
    if isinstance(node, Compare):
        return _compare(node)
    if isinstance(node, Not):
        return f"NOT ({holds(node.part)})"
    word = " AND " if node.every else " OR "
    return "(" + (word.join(holds(part) for part in node.parts) or "1") + ")"


def _compare(leaf: Compare) -> str:  # noqa: PLR0911 - one flat case an op
    left, op, right = raw(str(leaf.left)), leaf.op, leaf.right
    if isinstance(right, Ref):
        raise NotInSql(f"a comparison with {right}")
    there = f"({left} NOT IN ('', 'null'))"
    if op == "exists":
        return there if right else f"NOT {there}"
    if op == "in":
        values = right if isinstance(right, tuple) else (right,)
        return "(" + " OR ".join(_equal(left, value) for value in values) + ")"
    if op == "has":
        return f"arrayExists(x -> {_equal('x', right)}, JSONExtractArrayRaw({left}))"
    if op == "ne":
        return f"({there} AND NOT {_equal(left, right)})"
    if op == "starts_with":
        text = f"ifNull({_text(left)}, '')"
        return f"startsWith({text}, {quote(str(right))}) AND startsWith({left}, '\"')"
    if op in _ORDERED:
        if isinstance(right, str):
            return f"ifNull({_text(left)} {_ORDERED[op]} {quote(right)}, 0)"
        number = f"if(match({left}, '^-?[0-9]'), toFloat64OrNull({left}), NULL)"
        return f"ifNull({number} {_ORDERED[op]} {right!r}, 0)"
    return _equal(left, right)


def _equal(left: str, right: Any) -> str:  # noqa: ANN401 - a text, number, true or false
    if isinstance(right, bool):
        return f"({left} = '{str(right).lower()}')"
    if isinstance(right, str):
        return f"ifNull({_text(left)} = {quote(right)}, 0)"
    number = f"if(match({left}, '^-?[0-9]'), toFloat64OrNull({left}), NULL)"
    return f"ifNull({number} = {right!r}, 0)"


def _text(left: str) -> str:
    return f"if(startsWith({left}, '\"'), JSONExtractString({left}), NULL)"


def matches(events: Sequence[str], where: Condition) -> str:
    """Return the SQL of events of some names that satisfy a condition."""
    names = ", ".join(map(quote, sorted(SILENT) if "*" in events else events))
    return f"event {'NOT IN' if '*' in events else 'IN'} ({names}) AND ({holds(where.node)})"
