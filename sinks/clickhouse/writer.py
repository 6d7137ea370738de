"""The transport to ClickHouse: one INSERT for each part, at most once by its token.

What is sent: ``INSERT INTO <table> (<columns>) VALUES``, native protocol, one columnar
block, with the settings below and ``insert_deduplication_token`` = the part's token.
"""

import threading
from collections.abc import Mapping
from typing import Any, Final

from clickhouse_driver import Client

from schemas.errors import SinkUnavailable
from schemas.settings import Settings
from sinks.clickhouse.client import as_ours, connect
from sinks.clickhouse.rows import Part, Span
from sinks.clickhouse.tables import BY_TOPIC, PROVENANCE, offsets_sql

# Without each of these a repeated block would be stored again, here or in a view's target.
EXACTLY_ONCE: Final[Mapping[str, Any]] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}


class Writer:
    """Inserts parts; may be shared by threads, each of which gets its own connection."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.clickhouse
        self._mine = threading.local()
        self._all: set[Client] = set()

    def insert(self, part: Part) -> None:
        """Insert a part, unless its token was seen.

        Raises ``SinkUnavailable`` if the outcome is unknown or the store is away (send the
        same part again) and ``RowsRefused`` if the store will never take these rows.
        """
        try:
            # What is NULL, '', [] or 0 in every row is what ClickHouse puts there by itself.
            columns = {
                name: list(column)  # the driver replaces NULLs in the lists that it gets
                for name, column in zip(part.table.columns, part.columns, strict=True)
                if name in PROVENANCE or any(column)
            }
            self._client().execute(
                part.table.insert_sql(columns),
                list(columns.values()),
                columnar=True,
                settings={**EXACTLY_ONCE, "insert_deduplication_token": part.token},
            )
        except Exception as error:
            self._forget()
            ours = as_ours(error, part.table.name)
            if ours is None:
                raise
            raise ours from error

    def landed(self, span: Span) -> set[int]:
        """Return the offsets of a range that stand in ClickHouse, in its table or as rejects.

        Raises ``SinkUnavailable``.
        """
        query = (
            f"SELECT _offset FROM ({offsets_sql(span.topic)}) WHERE _partition = %(partition)s"  # noqa: S608 - names of tables.py only
            " AND _offset BETWEEN %(first)s AND %(last)s"
        )
        values = {"partition": span.partition, "first": span.first, "last": span.last}
        try:
            return {row[0] for row in self._client().execute(query, values)}
        except Exception as error:
            self._forget()
            ours = as_ours(error, BY_TOPIC[span.topic].name)
            if ours is None:
                raise
            raise SinkUnavailable(BY_TOPIC[span.topic].name, str(ours), retry_after_s=1) from error

    def close(self) -> None:
        """Close every thread's connection; inserts in flight end with an unknown outcome."""
        while self._all:
            self._all.pop().disconnect()

    def _client(self) -> Client:
        client = getattr(self._mine, "client", None)
        if client is None:
            client = self._mine.client = connect(self._url)
            self._all.add(client)
        return client

    def _forget(self) -> None:
        client: Client | None = getattr(self._mine, "client", None)
        self._mine.client = None
        if client is not None:
            self._all.discard(client)
            client.disconnect()
