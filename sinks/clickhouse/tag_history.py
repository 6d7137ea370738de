"""Histories to rebuild a tag from, and which users still need it: all asked of ClickHouse.

A user is done if the latest rebuilding of the tag is of this run and no event of theirs
stands between the offset that it covers and its own: the worker took it. So a run that was
killed, or lost a race with live events, goes on where it has to, by what is landed alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from schemas.events import Event
from schemas.tags import BACKFILLED, SILENT
from sinks.clickhouse.history import History, ask, decode_events

_FOR_EVER_MS: Final = 9_999_999_999_999
_LANDED: Final = (
    "toInt64(_offset) <= transform(_partition, {partitions:Array(UInt32)},"
    " {uptos:Array(Int64)}, toInt64(-1))"
)
# Of each user the latest rebuilding of the tag.
_LATEST: Final = f"""
SELECT user, argMax(_partition, _offset) AS part, max(_offset) AS at,
    argMax(JSONExtractInt(properties, 'upto'), _offset) AS upto,
    argMax(JSONExtractString(properties, 'run'), _offset) AS made_by
FROM events WHERE event = '{BACKFILLED}' AND raw_offset < 0
    AND JSONExtractString(properties, 'tag') = {{tag:String}}
GROUP BY user HAVING made_by = {{run:String}}
"""  # noqa: S608 - a constant's name
_DONE: Final = f"""
SELECT user FROM ({_LATEST}) WHERE user NOT IN (
    SELECT b.user FROM ({_LATEST}) AS b
    INNER JOIN (SELECT user, _partition, _offset FROM events
        WHERE toInt64(_offset) > (SELECT min(upto) FROM ({_LATEST}))) AS e
    ON b.user = e.user AND b.part = e._partition
    WHERE toInt64(e._offset) > b.upto AND e._offset < b.at)
"""  # noqa: S608 - as above


class TagHistory(History):
    """The events of one tag; raises ``PartMissing`` where ClickHouse is not there.

    ``span`` bounds them by event time, epoch ms, from and to (excluded).
    """

    def __init__(
        self, url: str, tag: str, run: str, events: Sequence[str], span: tuple[int, int]
    ) -> None:
        super().__init__(url, _FOR_EVER_MS)
        self._tag_run: dict[str, Any] = {"tag": tag, "run": run}
        self._names = {"names": sorted(SILENT) if "*" in events else list(events)}
        self._span = {"from": span[0], "to": span[1]}
        self._mine = (
            f"event {'NOT IN' if '*' in events else 'IN'} {{names:Array(String)}}"
            " AND toUnixTimestamp64Milli(least(timestamp, received_at)) >= {from:Int64}"
            " AND toUnixTimestamp64Milli(least(timestamp, received_at)) < {to:Int64}"
        )

    def todo(self, uptos: dict[int, int]) -> tuple[int, int]:
        """Return how many users are to be rebuilt, and of how many events, about."""
        query = f"SELECT uniqExact(user), countIf({self._mine}) FROM events WHERE {self._wanted()}"  # noqa: S608 - this module's own text
        ((users, events),) = ask(self._url, query, **self._params(uptos))
        return users, events

    def pending(
        self, uptos: dict[int, int], part: int, parts: int
    ) -> Iterator[tuple[str, list[Event]]]:
        """Yield users of one part of those to be rebuilt, with their events up to the offsets."""
        slice_of = f"cityHash64(user) % {int(parts)} = {int(part)}"
        where = f"{slice_of} AND {self._wanted()}"
        users = {
            user.decode()
            for (user,) in self._ask(
                f"SELECT DISTINCT user FROM events WHERE {where}",  # noqa: S608 - as above
                **self._params(uptos),
            )
        }
        grouped = self._grouped(f"{where} AND {self._mine} AND {_LANDED}")
        for user, text in self._ask(grouped, **self._params(uptos)):
            name = user.decode()
            users.discard(name)
            yield name, list(decode_events(text))
        # What an earlier definition gave them, this one takes away.
        for name in sorted(users):
            yield name, []

    def _wanted(self) -> str:
        tagged = "SELECT user FROM tag_changes WHERE tag = {tag:String}"
        return f"(({self._mine}) OR user IN ({tagged})) AND user NOT IN ({_DONE})"

    def _params(self, uptos: dict[int, int]) -> dict[str, Any]:
        return {
            **self._tag_run,
            **self._names,
            **self._span,
            "partitions": list(uptos),
            "uptos": list(uptos.values()),
        }
