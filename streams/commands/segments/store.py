"""Segments in ClickHouse: how many are in, and who."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from clickhouse_driver import Client

from schemas.segments import SegmentTag
from schemas.settings import Settings
from sinks.clickhouse.client import as_missing, connect
from streams.commands.segments.sql import Query, members_sql
from streams.core.rulebook import Rulebook

# Over it a grouping of many users goes to disk.
_SPILL_BYTES: Final = 1_000_000_000
_ENTERED: Final = """
SELECT count() FROM
(SELECT argMax(after, version) AS value FROM tags_latest WHERE tag = %(tag)s GROUP BY user)
WHERE value = 'true'
"""


class SegmentStore:
    """Asks ClickHouse; raises ``PartMissing`` where it does not answer. Close it after use."""

    def __init__(self, settings: Settings, rulebook: Rulebook) -> None:
        self._rulebook = rulebook
        self._client: Client = connect(
            settings.clickhouse,
            settings={"max_bytes_before_external_group_by": _SPILL_BYTES},
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._client.disconnect()

    def query(self, segment: SegmentTag) -> Query:
        """Return the query of a segment's members."""
        return members_sql(self._rulebook, segment)

    def count(self, segment: SegmentTag) -> int:
        """Return how many users the condition holds for, by the tags written last."""
        query = self.query(segment)
        return int(self._ask(f"SELECT count() FROM ({query.sql})", query.params)[0][0])  # noqa: S608 - our own SQL

    def entered(self, segment: SegmentTag) -> int:
        """Return how many users have entered as rules saw it, and not left."""
        return int(self._ask(_ENTERED, {"tag": segment.id})[0][0])

    def members(
        self, segment: SegmentTag, *, limit: int = 0
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each member with the values of the tags that the segment reads."""
        query = self.query(segment)
        # In order, so that the same limit shows the same users.
        sql = f"{query.sql} ORDER BY user" + (f" LIMIT {limit}" if limit else "")
        try:
            for user, *values in self._client.execute_iter(sql, query.params):
                shown = zip(query.tags, values, strict=True)
                yield user, {tag: _value(text) for tag, text in shown if text is not None}
        except Exception as error:
            raise as_missing(error) or error from error

    def _ask(self, sql: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
        try:
            rows: list[tuple[Any, ...]] = self._client.execute(sql, params)
        except Exception as error:
            raise as_missing(error) or error from error
        return rows


def _value(text: str) -> Any:  # noqa: ANN401 - any JSON value
    return msgspec.json.decode(text)
