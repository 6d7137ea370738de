"""A segment's condition as SQL over ``tags_latest``: who is in it by the values written last.

Each tag that it reads is a column ``t0, t1, ...`` of JSON text, NULL where a user has none;
counts, sums and scores read 0 and flags false, as in the engine. Nothing that an author wrote
stands in the SQL: values go as parameters, tags only by number.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.conditions import Compare, Node, Not, Ref, Scalar
from schemas.segments import SegmentTag
from schemas.tags import MadeTag, Tag
from streams.core.rulebook import Rulebook
from streams.core.tags.catalogue import make_kind

_ORDERED: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
# By user and tag; the highest version is the latest change, so no FINAL is needed.
_SELECT: Final = """\
SELECT user{columns}
FROM
(
    SELECT user, {latest}
    FROM tags_latest
    WHERE tag IN %(tags)s
    GROUP BY user
)
WHERE {holds}"""


@dataclass(frozen=True, slots=True)
class Query:
    """SQL of the members: ``user``, then the value of each of ``tags`` as JSON text."""

    sql: str
    params: dict[str, Any]
    tags: tuple[str, ...]


@dataclass(slots=True)
class _Sql:
    """What is being built: the tags that are read, in order, and the parameters."""

    rulebook: Rulebook
    tags: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)

    def param(self, value: object) -> str:
        """Return the placeholder of a value."""
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f"%({name})s"

    def tag(self, tag_id: str) -> Tag:
        """Return a tag of the rulebook; the rulebook was checked to have it."""
        return next(tag for tag in self.rulebook.tags if tag.id == tag_id)

    def column(self, tag_id: str) -> str:
        """Return the column of a tag, with what it reads where there is nothing."""
        if tag_id not in self.tags:
            self.tags.append(tag_id)
        name, tag = f"t{self.tags.index(tag_id)}", self.tag(tag_id)
        empty = None if isinstance(tag, MadeTag) else make_kind(tag).empty
        return name if empty is None else f"ifNull({name}, '{json.dumps(empty)}')"


def members_sql(rulebook: Rulebook, segment: SegmentTag) -> Query:
    """Return the query of a segment's members."""
    sql = _Sql(rulebook)
    holds = _holds(sql, segment)
    latest = []
    for i, tag in enumerate(sql.tags):
        value = f"argMaxIf(after, version, tag = {sql.param(tag)})"
        latest.append(f"nullIf(nullIf({value}, ''), 'null') AS t{i}")
    columns = "".join(f", t{i}" for i in range(len(sql.tags)))
    text = _SELECT.format(columns=columns, latest=", ".join(latest), holds=holds)
    return Query(text, {**sql.params, "tags": tuple(sql.tags)}, tuple(sql.tags))


def reads(rulebook: Rulebook, segment: SegmentTag) -> Iterator[str]:
    """Yield the tags that a segment reads, itself and through other segments."""
    for ref in segment.where.refs():
        tag = next(one for one in rulebook.tags if one.id == ref.path[0])
        if isinstance(tag, SegmentTag):
            yield from reads(rulebook, tag)
        else:
            yield tag.id


def _holds(sql: _Sql, segment: SegmentTag) -> str:
    return _node(sql, segment.where.node)


def _node(sql: _Sql, node: Node) -> str:
    if isinstance(node, Compare):
        return f"ifNull({_compare(sql, node)}, 0)"
    if isinstance(node, Not):
        return f"(NOT {_node(sql, node.part)})"
    if not node.parts:
        return "1" if node.every else "0"
    return "(" + (" AND " if node.every else " OR ").join(_node(sql, p) for p in node.parts) + ")"


def _value(sql: _Sql, ref: Ref) -> str:
    """Return the JSON text of a tag, or of a part of it, NULL where there is none."""
    tag_id, *path = ref.path
    tag = sql.tag(tag_id)
    if isinstance(tag, SegmentTag):
        return f"if({_holds(sql, tag)}, 'true', NULL)"
    value = sql.column(tag_id)
    for step in path:
        part = f"JSONExtractRaw(ifNull({value}, ''), {sql.param(step)})"
        value = f"nullIf(nullIf({part}, ''), 'null')"
    return value


def _compare(sql: _Sql, leaf: Compare) -> str:  # noqa: PLR0911 - one line an operator
    left = _value(sql, leaf.left)
    if leaf.op == "exists":
        return f"({left} IS {'NOT ' if leaf.right else ''}NULL)"
    if isinstance(leaf.right, Ref):
        return _with_tag(leaf.op, left, _value(sql, leaf.right))
    if isinstance(leaf.right, tuple):
        return (
            "("
            + " OR ".join(f"ifNull({_equal(sql, left, choice)}, 0)" for choice in leaf.right)
            + ")"
        )
    right = leaf.right
    if leaf.op == "eq":
        return _equal(sql, left, right)
    if leaf.op == "ne":
        return f"({left} IS NOT NULL AND NOT ifNull({_equal(sql, left, right)}, 0))"
    if leaf.op == "has":
        return _has(sql, left, right)
    if leaf.op == "starts_with":
        return f"startsWith({_text(left)}, {sql.param(right)})"
    typed = _text(left) if isinstance(right, str) else _number(left)
    return f"({typed} {_ORDERED[leaf.op]} {sql.param(right)})"


def _equal(sql: _Sql, left: str, right: Scalar) -> str:
    if isinstance(right, bool):
        return f"({left} = '{json.dumps(right)}')"
    typed = _text(left) if isinstance(right, str) else _number(left)
    return f"({typed} = {sql.param(right)})"


def _has(sql: _Sql, left: str, right: Scalar) -> str:
    if not isinstance(right, str):
        numbers = f"JSONExtractArrayRaw(ifNull({left}, ''))"
        return (
            f"arrayExists(one -> ifNull(toFloat64OrNull(one) = {sql.param(right)}, 0), {numbers})"
        )
    texts, member = f"JSONExtract(ifNull({left}, ''), 'Array(String)')", sql.param(right)
    keyed = f"(startsWith({left}, '{{') AND JSONHas(ifNull({left}, ''), {member}))"
    return f"((startsWith({left}, '[') AND has({texts}, {member})) OR {keyed})"


def _with_tag(op: str, left: str, right: str) -> str:
    """Compare two tags: of the same type, as the engine does."""
    if op in ("eq", "ne"):
        same = " OR ".join(
            (
                f"ifNull({_number(left)} = {_number(right)}, 0)",
                f"ifNull({_text(left)} = {_text(right)}, 0)",
                f"({left} IN ('true', 'false') AND {left} = {right})",
            )
        )
        there = f"{left} IS NOT NULL AND {right} IS NOT NULL"
        return f"({there} AND {'NOT ' if op == 'ne' else ''}ifNull({same}, 0))"
    if op == "has":
        texts = f"JSONExtract(ifNull({left}, ''), 'Array(String)')"
        keyed = f"(startsWith({left}, '{{') AND JSONHas(ifNull({left}, ''), {_text(right)}))"
        return f"((startsWith({left}, '[') AND has({texts}, {_text(right)})) OR {keyed})"
    if op == "starts_with":
        return f"startsWith({_text(left)}, {_text(right)})"
    numbers = f"ifNull({_number(left)} {_ORDERED[op]} {_number(right)}, 0)"
    return f"({numbers} OR ifNull({_text(left)} {_ORDERED[op]} {_text(right)}, 0))"


def _number(value: str) -> str:
    """Return the number of a JSON text; NULL if it is none: a quoted one is a text."""
    return f"toFloat64OrNull({value})"


def _text(value: str) -> str:
    return f"if(startsWith({value}, '\"'), JSONExtractString(ifNull({value}, '')), NULL)"
