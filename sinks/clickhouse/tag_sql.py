"""Tags as SQL over raw events: each kind once more, written apart from the engine.

What stands here reads the definitions alone; it shares no code with the engine that it is
to check. Every fragment works on ``audit_events``: the events of some users, with ``t``,
the event time in ms.
"""
# ruff: noqa: S608 - composing queries of its own fragments is what this module is for

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, Protocol

import msgspec

from schemas.authoring import Match
from schemas.conditions import Condition
from schemas.tags import IMPORTED, EventTag
from sinks.clickhouse.event_sql import NotInSql, holds, matches, quote, raw

_SCALE: Final = 10_000
_TILES: Final = 96
_KEY_CHARS: Final = 64
_TEXT_CHARS: Final = 256
_PLAIN: Final = "notEmpty(r) AND r != 'null' AND substring(r, 1, 1) NOT IN ('[', '{')"
_KEY: Final = f"if(startsWith(r, '\"'), substringUTF8(JSONExtractString(r), 1, {_KEY_CHARS}), r)"
_NUMBER: Final = "if(match(r, '^-?[0-9]'), toFloat64OrNull(r), NULL)"
_AMOUNT: Final = f"toInt64(round(greatest(-1e12, least(1e12, v)) * {_SCALE}))"


def _as_it_is(_tag: object, value: Any) -> Any:  # noqa: ANN401 - JSON
    return value


@dataclass(frozen=True, slots=True)
class Twin:
    """One kind: its query, its value in the form that the engine shows, and of no event."""

    sql: Callable[[Any, int], str]
    shown: Callable[[Any, Any], Any] = _as_it_is
    empty: object = None


def recompute(tag: EventTag, at_ms: int) -> str:
    """Return the query of a tag at a time; raises ``NotInSql``.

    It gives ``user``, ``value`` (JSON) and ``exact``: of a window the value to the millisecond,
    where ``value`` goes by tiles; of a score its number of events. Users whom no event of
    the tag met are missing.
    """
    return twin_of(tag.kind).sql(tag, at_ms)


def shown(tag: EventTag, value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return what SQL gave in the form that the engine shows."""
    return twin_of(tag.kind).shown(tag, value)


def twin_of(kind: str) -> Twin:
    """Return the SQL of a kind; raises ``NotInSql`` where there is none."""
    twin = TWINS.get(kind)
    if twin is None:
        raise NotInSql(WITHOUT_TWIN.get(kind, f"the kind {kind}"))
    return twin


class _OfEvents(Protocol):
    """What of a tag of events is read here, whatever its kind."""

    id: str
    kind: str
    event: Sequence[str]
    where: Condition


class _Windowed(_OfEvents, Protocol):
    window_ms: int | None


class _Ending(_OfEvents, Protocol):
    ttl_ms: int | None
    until: Match | None


class _Weighted(_OfEvents, Protocol):
    value: str | None
    weights: Mapping[str, float]
    half_life_ms: int | None


class _Age(Protocol):
    gte_ms: int | None
    lt_ms: int | None


class _Ages(Protocol):
    since_first: _Age | None
    since_last: _Age | None


class _Staged(_OfEvents, Protocol):
    stages: Sequence[Mapping[str, _Ages]]
    otherwise: str | None


class _Scored(_OfEvents, Protocol):
    recency: Sequence[int]
    frequency: Sequence[float]
    monetary: Sequence[float]
    high: int


class _Rhythmic(_OfEvents, Protocol):
    rhythm_ms: int
    middle: float
    high: float


def _values(tag: _OfEvents) -> str:
    """Return the query of a tag's events: with the JSON text of its value, and its number."""
    path = getattr(tag, "value", None)
    return (
        f"SELECT user, t, event, {raw(path) if path else repr('1')} AS r, {_NUMBER} AS v"
        f" FROM audit_events WHERE {matches(tag.event, tag.where)}"
    )


def _grouped(base: str, value: str, exact: str = "''", *, where: str = "1") -> str:
    return (
        f"SELECT user, ifNull(toJSONString({value}), 'null') AS value,"
        f" ifNull({exact}, 'null') AS exact"
        f" FROM ({base}) WHERE {where} GROUP BY user"
    )


def _tiles(window_ms: int, at_ms: int) -> tuple[str, str]:
    """Return what falls into a window by its tiles, and to the millisecond."""
    tile_ms = max(1, -(-window_ms // _TILES))
    first, last = (at_ms - window_ms) // tile_ms, at_ms // tile_ms
    return (
        f"intDiv(t, {tile_ms}) BETWEEN {first} AND {last}",
        f"t > {at_ms - window_ms} AND t <= {at_ms}",
    )


def _count(tag: _Windowed, at_ms: int) -> str:
    if tag.window_ms is None:
        return _grouped(_values(tag), "count()")
    by_tile, exactly = _tiles(tag.window_ms, at_ms)
    return _grouped(_values(tag), f"countIf({by_tile})", f"toString(countIf({exactly}))")


def _amounts(value: str) -> Callable[[_Windowed, int], str]:
    """Return the query of an aggregate of amounts, with ``{0}`` for what falls into a window."""

    def sql(tag: _Windowed, at_ms: int) -> str:
        base = f"SELECT user, t, {_AMOUNT} AS a FROM ({_values(tag)}) WHERE v IS NOT NULL"
        if tag.window_ms is None:
            return _grouped(base, value.format("1"))
        by_tile, exactly = _tiles(tag.window_ms, at_ms)
        return _grouped(base, value.format(by_tile), f"toJSONString({value.format(exactly)})")

    return sql


def _unscaled(total: int) -> int | float:
    return total / _SCALE if total % _SCALE else total // _SCALE


def _amount(_tag: object, value: Any) -> Any:  # noqa: ANN401 - JSON
    return None if value is None else _unscaled(int(value))


def _mean(_tag: object, value: Any) -> Any:  # noqa: ANN401 - JSON
    return _unscaled(round(int(value[0]) / int(value[1]))) if value else None


def _pick(order: str) -> Callable[[_OfEvents, int], str]:
    """Return the query of the value that is greatest in an order."""
    return lambda tag, _at_ms: _grouped(_values(tag), f"argMax(r, {order})", where=_PLAIN)


def _plain(_tag: object, text: Any) -> Any:  # noqa: ANN401 - JSON
    value = msgspec.json.decode(text)
    return value[:_TEXT_CHARS] if isinstance(value, str) else value


def _channel(tag: _OfEvents, _at_ms: int) -> str:
    return _grouped(_values(tag), "[argMax(r, (-t, r)), argMax(r, (t, r))]", where=_PLAIN)


def _first_last(tag: object, value: Any) -> Any:  # noqa: ANN401 - JSON
    return {"first": _plain(tag, value[0]), "last": _plain(tag, value[1])}


def _flag(tag: _Ending, at_ms: int) -> str:
    on, off = matches(tag.event, tag.where), "0"
    if tag.until is not None:
        off = matches(tag.until.event, tag.until.where)
    lasts = f"AND {at_ms} < on + {tag.ttl_ms}" if tag.ttl_ms is not None else ""
    return (
        f"SELECT user, toJSONString(ifNull(on IS NOT NULL AND NOT ifNull(off > on, 0) {lasts}, 0)"
        f" = 1) AS value, '' AS exact FROM (SELECT user, maxOrNullIf(t, {on}) AS on,"
        f" maxOrNullIf(t, {off}) AS off FROM audit_events WHERE ({on}) OR ({off}) GROUP BY user)"
    )


def _true(_tag: object, value: Any) -> bool:  # noqa: ANN401 - JSON
    return bool(value)


def _distinct(tag: _OfEvents, _at_ms: int) -> str:
    return _grouped(_values(tag), f"uniqExact({_KEY})", where=_PLAIN)


def _weights(tag: _Weighted) -> str:
    if not tag.weights:
        return "1."
    names = ", ".join(map(quote, tag.weights))
    return f"transform(event, [{names}], {[float(weight) for weight in tag.weights.values()]}, 1.)"


def _topk(tag: _Weighted, _at_ms: int) -> str:
    halving = f"exp2((t - newest) / {tag.half_life_ms})" if tag.half_life_ms else "1."
    keyed = (
        f"SELECT user, {_KEY} AS key, t, {_weights(tag)} AS w,"
        f" max(t) OVER (PARTITION BY user) AS newest FROM ({_values(tag)}) WHERE {_PLAIN}"
    )
    weighed = f"SELECT user, key, sum(w * {halving}) AS weight FROM ({keyed}) GROUP BY user, key"
    return _grouped(weighed, "arraySort(x -> (-x.2, x.1), groupArray((key, weight)))")


def _pair(value: Any) -> Any:  # noqa: ANN401 - ClickHouse may name the parts of a tuple
    return list(value.values()) if isinstance(value, dict) else value


def _pairs(_tag: object, value: Any) -> Any:  # noqa: ANN401 - JSON
    return [_pair(pair) for pair in value]


def _decay(tag: _Weighted, at_ms: int) -> str:
    value = "v" if tag.value is not None else "1."
    score = f"sum({_weights(tag)} * {value} * exp2((t - {at_ms}) / {tag.half_life_ms}))"
    where = f"t <= {at_ms}" + (" AND v IS NOT NULL" if tag.value is not None else "")
    return _grouped(_values(tag), score, "toString(count())", where=where)


def _per_key(tag: _OfEvents, _at_ms: int) -> str:
    keyed = (
        f"SELECT user, {_KEY} AS key, count() AS n FROM ({_values(tag)})"
        f" WHERE {_PLAIN} GROUP BY user, key"
    )
    return _grouped(keyed, "groupArray((key, n))")


def _counts(_tag: object, value: Any) -> Any:  # noqa: ANN401 - JSON
    return {key: int(count) for key, count in map(_pair, value)} or None


def _stage(tag: _Staged, at_ms: int) -> str:
    cases = []
    for stage in tag.stages:
        for name, ages in stage.items():
            tests = _age(f"({at_ms} - min(t))", ages.since_first)
            tests += _age(f"({at_ms} - max(t))", ages.since_last)
            cases.append(f"{' AND '.join(tests) or '1'}, {quote(name)}")
    return _grouped(_values(tag), f"multiIf({', '.join(cases)}, {quote(tag.otherwise or '')})")


def _age(age_ms: str, bounds: _Age | None) -> list[str]:
    tests = []
    if bounds is not None and bounds.gte_ms is not None:
        tests.append(f"{age_ms} >= {bounds.gte_ms}")
    if bounds is not None and bounds.lt_ms is not None:
        tests.append(f"{age_ms} < {bounds.lt_ms}")
    return tests


def _or_none(_tag: object, value: Any) -> Any:  # noqa: ANN401 - JSON
    return value or None


def _rfm(tag: _Scored, at_ms: int) -> str:
    base = f"SELECT user, t, {_AMOUNT} AS a FROM ({_values(tag)}) WHERE v IS NOT NULL"
    money = [round(one * _SCALE) for one in tag.monetary]
    scores = (
        f"[5 - arrayCount(x -> x <= {at_ms} - max(t), {tag.recency}),"
        f" 1 + arrayCount(x -> x <= count(), {tag.frequency}),"
        f" 1 + arrayCount(x -> x <= sum(a), {money})]"
    )
    return _grouped(base, scores)


def _scores(tag: _Scored, value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    r, f, m = map(int, value)
    names = {(True, True): "value", (True, False): "develop", (False, True): "keep"}
    worth = "important" if m >= tag.high else "general"
    segment = f"{worth}_{names.get((r >= tag.high, f >= tag.high), 'retain')}"
    return {"r": r, "f": f, "m": m, "segment": segment}


def _import(tag: _OfEvents, _at_ms: int) -> str:
    plain = "if(notEmpty(r) AND substring(r, 1, 1) NOT IN ('[', '{'), r, 'null')"
    base = (
        f"SELECT user, t, {raw('properties.value')} AS r FROM audit_events"
        f" WHERE event = {quote(IMPORTED)} AND source = 'server' AND ({holds(tag.where.node)})"
        f" AND JSONExtractString(properties, 'tag') = {quote(tag.id)}"
    )
    return _grouped(base, f"argMax({plain}, (t, {plain}))")


def _churn(tag: _Rhythmic, at_ms: int) -> str:
    z_of = NormalDist().inv_cdf
    tenths = [z_of(tenth / 10) for tenth in range(1, 10)]
    limit = "greatest(1, ceil(m * pow(greatest(0, 1 - 1 / (9 * k) + ({z}) / (3 * sqrt(k))), 3)))"
    levels = [limit.format(z=repr(z_of(bound))) for bound in (tag.high, tag.middle)]
    times = (
        "SELECT user, arraySlice(arraySort(groupArray(t)), -16) AS ts"
        f" FROM ({_values(tag)}) GROUP BY user"
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


def _risk(_tag: object, value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    level, risk = _pair(value)
    return {"level": level, "risk": risk}


TWINS: Final[Mapping[str, Twin]] = {
    "count": Twin(_count, empty=0),
    "sum": Twin(_amounts("ifNull(sumIf(a, {0}), 0)"), _amount, empty=0),
    # NULL is no array: an empty one says that there is none.
    "avg": Twin(
        _amounts("if(countIf({0}) = 0, [], [toInt64(sumIf(a, {0})), toInt64(countIf({0}))])"), _mean
    ),
    "min": Twin(_amounts("minOrNullIf(a, {0})"), _amount),
    "max": Twin(_amounts("maxOrNullIf(a, {0})"), _amount),
    "first": Twin(_pick("(-t, r)"), _plain),
    "last": Twin(_pick("(t, r)"), _plain),
    "channel": Twin(_channel, _first_last),
    "flag": Twin(_flag, _true, empty=False),
    "distinct": Twin(_distinct, empty=0),
    "topk": Twin(_topk, _pairs),
    "decay": Twin(_decay, empty=0),
    "per_key": Twin(_per_key, _counts),
    "stage": Twin(_stage, _or_none),
    "rfm": Twin(_rfm, _scores),
    "churn_risk": Twin(_churn, _risk),
    "import": Twin(_import, _plain),
}
# Why a kind has none: what it is made of is recomputed, and it is made of that.
WITHOUT_TWIN: Final[Mapping[str, str]] = {
    "expr": "an expr is made of other tags",
    "value_tier": "a value_tier is made of another tag",
}
