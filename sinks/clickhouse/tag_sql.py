"""Tags as SQL over raw events: conditions, values and each kind, written apart from the engine.

What stands here reads the definitions alone; it shares no code with the engine that it is
to check. Every fragment works on ``audit_events``: the events of some users, with ``t``,
the event time in ms. Texts of authors go in as quoted literals.
"""
# ruff: noqa: S608 - composing queries of its own fragments is what this module is for

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Final

from schemas.authoring import Condition
from schemas.tags import (
    IMPORTED,
    SILENT,
    Age,
    ChannelTag,
    ChurnRiskTag,
    DecayTag,
    DistinctTag,
    EventTag,
    FirstTag,
    FlagTag,
    ImportTag,
    LastTag,
    PerKeyTag,
    RfmTag,
    StageTag,
    TopkTag,
)

_MAPPINGS: Final = ("properties", "context", "traits")
_ORDERED: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_SCALE: Final = 10_000
_TILES: Final = 96
_KEY_CHARS: Final = 64
_PLAIN: Final = "notEmpty(r) AND r != 'null' AND substring(r, 1, 1) NOT IN ('[', '{')"
_KEY: Final = f"if(startsWith(r, '\"'), substringUTF8(JSONExtractString(r), 1, {_KEY_CHARS}), r)"
_NUMBER: Final = "if(match(r, '^-?[0-9]'), toFloat64OrNull(r), NULL)"
_AMOUNT: Final = f"toInt64(round(greatest(-1e12, least(1e12, v)) * {_SCALE}))"


class NotInSql(Exception):
    """A definition that this module has no SQL for."""


def recompute(tag: EventTag, at_ms: int) -> str:
    """Return the query of a tag at a time; raises ``NotInSql``.

    It gives ``user``, ``value`` (JSON) and ``exact``: of a window the value to the millisecond,
    where ``value`` goes by tiles; of a score its number of events. Users whom no event of
    the tag met are missing.
    """
    if isinstance(tag, FlagTag):
        return _flag(tag, at_ms)
    if isinstance(tag, ImportTag):
        return _import(tag)
    path = getattr(tag, "value", None)
    base = (
        f"SELECT user, t, event, {raw(path) if path else repr('1')} AS r, {_NUMBER} AS v"
        f" FROM audit_events WHERE {_matches(tag.event, tag.where)}"
    )
    sql: str = _KINDS[tag.kind](tag, base, at_ms)
    return sql


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
            parts.append("(" + word.join(holds(part) for part in value) + ")")
        elif key == "not":
            parts.append(f"NOT {holds(value)}")
        else:
            ops = value if isinstance(value, dict) else {"eq": value}
            parts += [
                _compare(raw(key.removeprefix("$event.")), op, part) for op, part in ops.items()
            ]
    return "(" + (" AND ".join(parts) or "1") + ")"


def _compare(left: str, op: str, right: Any) -> str:  # noqa: ANN401, PLR0911 - one flat case an op
    if isinstance(right, str) and right.startswith(("$event.", "$tag.")):
        raise NotInSql(f"a comparison with {right}")
    there = f"({left} NOT IN ('', 'null'))"
    if op == "exists":
        return there if right else f"NOT {there}"
    if op == "in":
        return "(" + " OR ".join(_equal(left, choice) for choice in right) + ")"
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


def _matches(events: Sequence[str], where: Condition) -> str:
    names = ", ".join(map(quote, sorted(SILENT) if "*" in events else events))
    return f"event {'NOT IN' if '*' in events else 'IN'} ({names}) AND {holds(where)}"


def _tiles(window_ms: int, at_ms: int) -> tuple[str, str]:
    """Return what falls into a window by its tiles, and to the millisecond."""
    tile_ms = max(1, -(-window_ms // _TILES))
    first, last = (at_ms - window_ms) // tile_ms, at_ms // tile_ms
    return (
        f"intDiv(t, {tile_ms}) BETWEEN {first} AND {last}",
        f"t > {at_ms - window_ms} AND t <= {at_ms}",
    )


def _grouped(base: str, value: str, exact: str = "''", *, where: str = "1") -> str:
    return (
        f"SELECT user, ifNull(toJSONString({value}), 'null') AS value,"
        f" ifNull({exact}, 'null') AS exact"
        f" FROM ({base}) WHERE {where} GROUP BY user"
    )


def _count(tag: Any, base: str, at_ms: int) -> str:  # noqa: ANN401 - each of its own kind
    if tag.window_ms is None:
        return _grouped(base, "count()")
    by_tile, exactly = _tiles(tag.window_ms, at_ms)
    return _grouped(base, f"countIf({by_tile})", f"toString(countIf({exactly}))")


def _amounts(tag: Any, base: str, at_ms: int) -> str:  # noqa: ANN401 - as above
    value = {
        "sum": "ifNull(sumIf(a, {0}), 0)",
        "avg": "if(countIf({0}) = 0, NULL, [sumIf(a, {0}), countIf({0})])",
        "min": "minOrNullIf(a, {0})",
        "max": "maxOrNullIf(a, {0})",
    }[tag.kind]
    if tag.kind == "avg":
        # NULL is no array: an empty one says that there is none.
        value = "if(countIf({0}) = 0, [], [toInt64(sumIf(a, {0})), toInt64(countIf({0}))])"
    base = f"SELECT user, t, {_AMOUNT} AS a FROM ({base}) WHERE v IS NOT NULL"
    if tag.window_ms is None:
        return _grouped(base, value.format("1"))
    by_tile, exactly = _tiles(tag.window_ms, at_ms)
    return _grouped(base, value.format(by_tile), f"toJSONString({value.format(exactly)})")


def _first(tag: FirstTag, base: str, at_ms: int) -> str:  # noqa: ARG001 - one signature for all
    return _grouped(base, "argMax(r, (-t, r))", where=_PLAIN)


def _last(tag: LastTag, base: str, at_ms: int) -> str:  # noqa: ARG001 - as above
    return _grouped(base, "argMax(r, (t, r))", where=_PLAIN)


def _channel(tag: ChannelTag, base: str, at_ms: int) -> str:  # noqa: ARG001 - as above
    return _grouped(base, "[argMax(r, (-t, r)), argMax(r, (t, r))]", where=_PLAIN)


def _flag(tag: FlagTag, at_ms: int) -> str:
    on, off = _matches(tag.event, tag.where), "0"
    if tag.until is not None:
        off = _matches(tag.until.event, tag.until.where)
    lasts = f"AND {at_ms} < on + {tag.ttl_ms}" if tag.ttl_ms is not None else ""
    return (
        f"SELECT user, toJSONString(ifNull(on IS NOT NULL AND NOT ifNull(off > on, 0) {lasts}, 0)"
        f" = 1) AS value, '' AS exact FROM (SELECT user, maxOrNullIf(t, {on}) AS on,"
        f" maxOrNullIf(t, {off}) AS off FROM audit_events WHERE ({on}) OR ({off}) GROUP BY user)"
    )


def _distinct(tag: DistinctTag, base: str, at_ms: int) -> str:  # noqa: ARG001 - as above
    return _grouped(base, f"uniqExact({_KEY})", where=_PLAIN)


def _weights(tag: TopkTag | DecayTag) -> str:
    if not tag.weights:
        return "1."
    names = ", ".join(map(quote, tag.weights))
    return f"transform(event, [{names}], {[float(weight) for weight in tag.weights.values()]}, 1.)"


def _topk(tag: TopkTag, base: str, at_ms: int) -> str:  # noqa: ARG001 - as above
    halving = f"exp2((t - newest) / {tag.half_life_ms})" if tag.half_life_ms else "1."
    keyed = (
        f"SELECT user, {_KEY} AS key, t, {_weights(tag)} AS w,"
        f" max(t) OVER (PARTITION BY user) AS newest FROM ({base}) WHERE {_PLAIN}"
    )
    weighed = f"SELECT user, key, sum(w * {halving}) AS weight FROM ({keyed}) GROUP BY user, key"
    return _grouped(weighed, "arraySort(x -> (-x.2, x.1), groupArray((key, weight)))")


def _decay(tag: DecayTag, base: str, at_ms: int) -> str:
    value = "v" if tag.value is not None else "1."
    score = f"sum({_weights(tag)} * {value} * exp2((t - {at_ms}) / {tag.half_life_ms}))"
    where = f"t <= {at_ms}" + (" AND v IS NOT NULL" if tag.value is not None else "")
    return _grouped(base, score, "toString(count())", where=where)


def _per_key(tag: PerKeyTag, base: str, at_ms: int) -> str:  # noqa: ARG001 - as above
    keyed = (
        f"SELECT user, {_KEY} AS key, count() AS n FROM ({base}) WHERE {_PLAIN} GROUP BY user, key"
    )
    return _grouped(keyed, "groupArray((key, n))")


def _stage(tag: StageTag, base: str, at_ms: int) -> str:
    cases = []
    for stage in tag.stages:
        for name, ages in stage.items():
            tests = _age(f"({at_ms} - min(t))", ages.since_first)
            tests += _age(f"({at_ms} - max(t))", ages.since_last)
            cases.append(f"{' AND '.join(tests) or '1'}, {quote(name)}")
    return _grouped(base, f"multiIf({', '.join(cases)}, {quote(tag.otherwise or '')})")


def _age(age_ms: str, bounds: Age | None) -> list[str]:
    tests = []
    if bounds is not None and bounds.gte_ms is not None:
        tests.append(f"{age_ms} >= {bounds.gte_ms}")
    if bounds is not None and bounds.lt_ms is not None:
        tests.append(f"{age_ms} < {bounds.lt_ms}")
    return tests


def _rfm(tag: RfmTag, base: str, at_ms: int) -> str:
    base = f"SELECT user, t, {_AMOUNT} AS a FROM ({base}) WHERE v IS NOT NULL"
    money = [round(bound * _SCALE) for bound in tag.monetary]
    scores = (
        f"[5 - arrayCount(x -> x <= {at_ms} - max(t), {tag.recency}),"
        f" 1 + arrayCount(x -> x <= count(), {tag.frequency}),"
        f" 1 + arrayCount(x -> x <= sum(a), {money})]"
    )
    return _grouped(base, scores)


def _import(tag: ImportTag) -> str:
    plain = "if(notEmpty(r) AND substring(r, 1, 1) NOT IN ('[', '{'), r, 'null')"
    base = (
        f"SELECT user, t, {raw('properties.value')} AS r FROM audit_events"
        f" WHERE event = {quote(IMPORTED)} AND source = 'server' AND {holds(tag.where)}"
        f" AND JSONExtractString(properties, 'tag') = {quote(tag.id)}"
    )
    return _grouped(base, f"argMax({plain}, (t, {plain}))")


def _churn(tag: ChurnRiskTag, base: str, at_ms: int) -> str:
    z_of = NormalDist().inv_cdf
    tenths = [z_of(tenth / 10) for tenth in range(1, 10)]
    limit = "greatest(1, ceil(m * pow(greatest(0, 1 - 1 / (9 * k) + ({z}) / (3 * sqrt(k))), 3)))"
    levels = [limit.format(z=repr(z_of(bound))) for bound in (tag.high, tag.middle)]
    times = (
        f"SELECT user, arraySlice(arraySort(groupArray(t)), -16) AS ts FROM ({base}) GROUP BY user"
    )
    means = (
        "SELECT user, ts, length(ts) - 1 AS n, if(n > 0, (ts[-1] - ts[1]) / n, 0) AS own"
        f" FROM ({times})"
    )
    spread = "arraySum(g -> (g - own) * (g - own), arrayPopFront(arrayDifference(ts))) / (n - 1)"
    rhythm = (
        f"SELECT user, {at_ms} - ts[-1] AS silence, if(own <= 0, {tag.rhythm_ms}, own) AS m,"
        f" if(own <= 0 OR n < 3, 1, greatest(1, own * own / greatest({spread}, own * own / 25)))"
        f" AS k FROM ({means})"
    )
    value = (
        f"(multiIf(silence >= {levels[0]}, 'high', silence >= {levels[1]}, 'middle', 'low'),"
        f" arrayCount(z -> silence >= {limit.format(z='z')}, {tenths}) / 10)"
    )
    return f"SELECT user, toJSONString({value}) AS value, '' AS exact FROM ({rhythm})"


_KINDS: Final[Mapping[str, Any]] = {
    "count": _count,
    "sum": _amounts,
    "avg": _amounts,
    "min": _amounts,
    "max": _amounts,
    "first": _first,
    "last": _last,
    "channel": _channel,
    "distinct": _distinct,
    "topk": _topk,
    "decay": _decay,
    "per_key": _per_key,
    "stage": _stage,
    "rfm": _rfm,
    "churn_risk": _churn,
}
