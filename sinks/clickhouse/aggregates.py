"""What materialized views keep, beside what the raw rows say: compared, and made anew.

A view ``TARGET_of_SOURCE`` fills TARGET. Its own SELECT, read from the server, is the one
definition of what must stand there: the comparison and the repair both run it over all raw rows.
Only the latest tags are compared in the log's own order: that of their view goes by the clocks
of those who wrote, and one that is wrong must not hide that.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from clickhouse_driver import Client

# Rows of a table fall into so many bags by a hash; only bags that differ are looked at row by row.
_BAGS: Final = 1024
_STATE: Final = re.compile(r"(?:Simple)?AggregateFunction\((\w+)")
_SPILL: Final = "SETTINGS max_bytes_before_external_group_by = 1000000000"
# Of a replacing table older rows go away in merges: there is a query of its own for it, below.
_COMPARED: Final = ("MergeTree", "AggregatingMergeTree")
_TAGS_LATEST: Final = "tags_latest"
_TAGS_STORED: Final = """
SELECT tag, user, argMax((after, time, message_id), version) AS latest
FROM tags_latest GROUP BY tag, user
"""
# A user stands in one partition; of several, where the number of them was changed, the one that
# was written last has the latest change; within a millisecond, the one with the higher offset.
_TAGS_BY_LOG: Final = """
SELECT tag, user, argMax(of_partition, greatest) AS latest, max(greatest) AS version FROM (
    SELECT tag, user, argMax((after, time, message_id), _offset) AS of_partition,
        max(bitShiftLeft(toUInt128(toUnixTimestamp64Milli(_logged_at)), 64)
            + toUInt128(_offset)) AS greatest
    FROM tag_changes GROUP BY tag, user, _partition)
GROUP BY tag, user
"""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A table that views fill: ``stored`` reads it merged, ``recomputed`` gives the same of raw.

    ``fill`` is what must be in it, in the order of ``columns``.
    """

    name: str
    columns: tuple[str, ...]
    views: tuple[str, ...]
    stored: str
    recomputed: str
    fill: str


def aggregates(client: Client) -> list[Aggregate]:
    """Return the aggregates of the current database, by name."""
    views: dict[str, list[str]] = {}
    for name, select in client.execute(
        "SELECT name, as_select FROM system.tables WHERE database = currentDatabase()"
        " AND engine = 'MaterializedView' ORDER BY name"
    ):
        views.setdefault(name.rpartition("_of_")[0], []).append(select)
    tables = _compared(client)
    aggregates = [
        _aggregate(client, name, tuple(views[name])) for name in sorted(tables & views.keys())
    ]
    return aggregates + ([_latest_tags()] if _TAGS_LATEST in views else [])


def difference(client: Client, aggregate: Aggregate) -> tuple[int, int, int]:
    """Return (rows stored, of them not as recomputed, recomputed that are not stored)."""
    rows, recomputed, bags = client.execute(
        "SELECT sum(rows), sum(raw_rows), groupArrayIf(bag, total != raw_total OR rows != raw_rows)"  # noqa: S608 - names and SQL of the server itself
        " FROM (SELECT bag, countIf(here) AS rows, countIf(NOT here) AS raw_rows,"
        " sumIf(hash, here) AS total, sumIf(hash, NOT here) AS raw_total FROM ("
        f"SELECT {_bag()} AS bag, cityHash64(*) AS hash, 1 AS here FROM ({aggregate.stored})"
        " UNION ALL "
        f"SELECT {_bag()} AS bag, cityHash64(*) AS hash, 0 AS here FROM ({aggregate.recomputed})"
        f") GROUP BY bag) {_SPILL}"
    )[0]
    if not bags:
        return rows, 0, 0
    chosen = ", ".join(map(str, bags))
    stored, recomputed_rows = (
        f"SELECT * FROM ({side}) WHERE {_bag()} IN ({chosen})"  # noqa: S608 - as above
        for side in (aggregate.stored, aggregate.recomputed)
    )
    wrong, absent = client.execute(
        f"SELECT (SELECT count() FROM ({stored} EXCEPT {recomputed_rows})),"  # noqa: S608 - as above
        f" (SELECT count() FROM ({recomputed_rows} EXCEPT {stored}))"
    )[0]
    # A row that stands twice is in neither difference of sets.
    return rows, max(wrong, rows - recomputed, 0), max(absent, recomputed - rows, 0)


def rebuild(client: Client, aggregate: Aggregate) -> None:
    """Make an aggregate anew from the raw rows, in one switch; no lander may be at work.

    A view that gets rows meanwhile would have them counted twice or not at all, and tokens of
    inserts before it are forgotten: the caller sees to it that no plan is open.
    """
    shadow = f"{aggregate.name}__anew"
    client.execute(f"DROP TABLE IF EXISTS {shadow} SYNC")
    client.execute(f"CREATE TABLE {shadow} AS {aggregate.name}")
    try:
        client.execute(
            f"INSERT INTO {shadow} ({', '.join(aggregate.columns)}) {aggregate.fill} {_SPILL}"
        )
        client.execute(f"ALTER TABLE {aggregate.name} REPLACE PARTITION ID 'all' FROM {shadow}")
    finally:
        client.execute(f"DROP TABLE IF EXISTS {shadow} SYNC")


def fill_empty(client: Client) -> Iterator[str]:
    """Fill the aggregates that have no row while their raw tables do; yield their names."""
    for aggregate in aggregates(client):
        (empty,) = client.execute(f"SELECT count() = 0 FROM {aggregate.name}")[0]  # noqa: S608 - names of the server itself
        if empty and client.execute(f"SELECT 1 FROM ({aggregate.fill}) LIMIT 1"):  # noqa: S608 - as above
            rebuild(client, aggregate)
            yield aggregate.name


def _compared(client: Client) -> set[str]:
    rows = client.execute(
        "SELECT name FROM system.tables WHERE database = currentDatabase()"
        " AND engine IN %(engines)s",
        {"engines": _COMPARED},
    )
    return {name for (name,) in rows}


def _aggregate(client: Client, name: str, views: tuple[str, ...]) -> Aggregate:
    columns: list[tuple[str, str]] = client.execute(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase()"
        " AND table = %(name)s AND default_kind NOT IN ('ALIAS', 'EPHEMERAL') ORDER BY position",
        {"name": name},
    )
    names = tuple(column for column, _ in columns)
    fill = _union(names, views)
    return Aggregate(
        name,
        names,
        views,
        _merged(columns, f"SELECT {', '.join(names)} FROM {name}"),  # noqa: S608 - names of the server itself
        _merged(columns, fill),
        fill,
    )


def _latest_tags() -> Aggregate:
    latest = f"SELECT tag, user, latest FROM ({_TAGS_BY_LOG})"  # noqa: S608 - our own text
    # With the greatest version of all, what is written later still takes its place.
    fill = (
        "SELECT tag, user, latest.1 AS after, latest.2 AS time, latest.3 AS message_id,"  # noqa: S608 - our own text
        f" version FROM ({_TAGS_BY_LOG})"
    )
    columns = ("tag", "user", "after", "time", "message_id", "version")
    return Aggregate(_TAGS_LATEST, columns, (), _TAGS_STORED, latest, fill)


def _union(columns: tuple[str, ...], views: tuple[str, ...]) -> str:
    return " UNION ALL ".join(f"SELECT {', '.join(columns)} FROM ({view})" for view in views)  # noqa: S608 - as above


def _merged(columns: list[tuple[str, str]], rows: str) -> str:
    """Return a query of one row a key: states of the same key merged, and finished."""
    keys = [name for name, kind in columns if not _STATE.match(kind)]
    if len(keys) == len(columns):
        return rows
    merged = [
        f"{match[1]}{'' if match[0].startswith('Simple') else 'Merge'}({name}) AS merged_{name}"
        for name, kind in columns
        if (match := _STATE.match(kind))
    ]
    return f"SELECT {', '.join(keys + merged)} FROM ({rows}) GROUP BY {', '.join(keys)}"  # noqa: S608 - as above


def _bag() -> str:
    return f"modulo(cityHash64(*), {_BAGS})"
