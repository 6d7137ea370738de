"""The SQL side of the audit of tags: a sample of users, their events, their tags recomputed.

Connections hold two temporary tables: ``audit_sample`` (user, partition, upto) says how
far each user's state is, ``audit_events`` has the events up to there.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from schemas.tags import BACKFILLED, EventTag
from sinks.clickhouse.client import as_missing, connect
from sinks.clickhouse.tag_sql import recompute

_SAMPLE: Final = """
SELECT user FROM events GROUP BY user ORDER BY cityHash64(user, {seed:UInt64}) LIMIT {n:UInt64}
"""
_MAKE_SAMPLE: Final = """
CREATE TEMPORARY TABLE audit_sample (user String, partition UInt32, upto Int64) ENGINE = Memory
"""
_MAKE_EVENTS: Final = """
CREATE TEMPORARY TABLE audit_events ENGINE = Memory AS
SELECT e.user AS user, toUnixTimestamp64Milli(least(e.timestamp, e.received_at)) AS t,
    e.event AS event, e.type AS type, e.source AS source, e.door AS door, e.account AS account,
    e.properties AS properties, e.context AS context, e.traits AS traits,
    e.identities AS identities
FROM events AS e INNER JOIN audit_sample AS s ON e.user = s.user
WHERE NOT (e._partition = s.partition AND toInt64(e._offset) > s.upto)
"""
# Landed and committed by the worker, but not in the state.
_PASSED_OVER: Final = """
SELECT e.user, count() FROM events AS e INNER JOIN audit_sample AS s ON e.user = s.user
WHERE e._partition = s.partition AND toInt64(e._offset) > s.upto
    AND toInt64(e._offset) < transform(e._partition, {partitions:Array(UInt32)},
        {committed:Array(Int64)}, toInt64(0))
    AND (e._partition, toInt64(e._offset)) NOT IN (
        SELECT toUInt32(raw_partition), raw_offset FROM rejects WHERE stage = 'engage')
GROUP BY e.user
"""


class TagAudit:
    """One connection and the sample on it; raises ``PartMissing`` where ClickHouse is not there."""

    def __init__(self, url: str) -> None:
        self._client = connect(url, settings={"server_side_params": True})
        self._client.connection.send_receive_timeout = 600

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()

    def sample(self, users: int, seed: int) -> list[str]:
        """Return users who have landed events: the same for the same seed and events."""
        return [user for (user,) in self._ask(_SAMPLE, n=users, seed=seed)]

    def take(self, rows: Iterable[tuple[str, int, int]]) -> None:
        """Take the events of users: ``(user, partition, last offset in the state)``."""
        self._ask(_MAKE_SAMPLE)
        self._client.execute("INSERT INTO audit_sample (user, partition, upto) VALUES", list(rows))
        self._ask(_MAKE_EVENTS)

    def extent(self) -> tuple[int, int]:
        """Return how many events were taken, rebuildings aside, and the time of the latest."""
        ((count, latest_ms),) = self._ask(
            f"SELECT count(), max(t) FROM audit_events WHERE event != '{BACKFILLED}'"  # noqa: S608 - a constant
        )
        return count, latest_ms

    def passed_over(self, committed: dict[int, int]) -> dict[str, int]:
        """Return users whose state lacks events that the worker has committed, with how many."""
        partitions, offsets = list(committed), list(committed.values())
        return dict(self._ask(_PASSED_OVER, partitions=partitions, committed=offsets))

    def values(self, tag: EventTag, at_ms: int) -> dict[str, tuple[Any, str]]:
        """Return ``(value, exact)`` by user; raises ``NotInSql``."""
        rows = self._ask(recompute(tag, at_ms))
        return {user: (_decode(value), exact) for user, value, exact in rows}

    def _ask(self, query: str, **params: Any) -> list[Any]:  # noqa: ANN401 - a driver's values
        try:
            rows = self._client.execute(query, params)
        except Exception as error:
            raise as_missing(error) or error from error
        return rows if isinstance(rows, list) else []


def _decode(text: str) -> Any:  # noqa: ANN401 - JSON
    return msgspec.json.decode(text)
