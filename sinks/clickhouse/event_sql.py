"""Conditions and values of events as SQL, written apart from the engine.

Texts of authors go in as quoted literals.
"""

from collections.abc import Sequence
from typing import Any, Final

from schemas.authoring import Condition
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


def holds(condition: Condition) -> str:
    """Return the SQL of a condition; raises ``NotInSql`` where it compares two paths."""
    parts = []
    for key, value in condition.items():
        if key in ("all", "any"):
            word = " AND " if key == "all" else " OR "
            parts.append("(" + word.join(holds(one) for one in value) + ")")
        elif key == "not":
            parts.append(f"NOT {holds(value)}")
        else:
            ops = value if isinstance(value, dict) else {"eq": value}
            parts += [
                _compare(raw(key.removeprefix("$event.")), op, one) for op, one in ops.items()
            ]
    return "(" + (" AND ".join(parts) or "1") + ")"


def _compare(left: str, op: str, right: Any) -> str:  # noqa: ANN401, PLR0911 - one flat case an op
    if isinstance(right, str) and right.startswith(("$event.", "$tag.")):
        raise NotInSql(f"a comparison with {right}")
    there = f"({left} NOT IN ('', 'null'))"
    if op == "exists":
        return there if right else f"NOT {there}"
    if op == "in":
        return "(" + " OR ".join(_equal(left, one) for one in right) + ")"
    if op == "has":
        return f"arrayExists(x -> {_equal('x', right)}, JSONExtractArrayRaw({left}))"
    if op == "ne":
        return f"({there} AND NOT {_equal(left, right)})"
    if op == "starts_with":
        return f"startsWith(ifNull({_text(left)}, ''), {quote(right)}) AND startsWith({left}, '\"')"
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
    return f"event {'NOT IN' if '*' in events else 'IN'} ({names}) AND {holds(where)}"
