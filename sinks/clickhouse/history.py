"""History: events read back from ClickHouse as the engine had them, each user's in log order.

The server groups a slice of the users, sorts each one's events by ``_partition, _offset``
and writes them as one JSON text, so that a client decodes a whole user at once::

    SELECT user, '[[message_id, type, event, ...], ...]' FROM events
    WHERE cityHash64(user) % {slices} = {slice} GROUP BY user
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from clickhouse_driver import Client

from schemas.events import Event, LoggedEvent
from sinks.clickhouse.client import as_missing, connect

decode_events = msgspec.json.Decoder(list[LoggedEvent]).decode
_MS: Final = "toUnixTimestamp64Milli"
# By the order of the contract's fields; what a producer did not send is null, not empty.
_FIELDS: Final = {
    "message_id": "toJSONString(message_id)",
    "type": "toJSONString(type::String)",
    "event": "toJSONString(event::String)",
    "user": "toJSONString(user)",
    "source": "toJSONString(source::String)",
    "door": "toJSONString(door::String)",
    "account": "toJSONString(account::String)",
    "timestamp_ms": f"toString({_MS}(timestamp))",
    "received_at_ms": f"toString({_MS}(received_at))",
    # No rule can read these two.
    "original_timestamp_ms": "'null'",
    "sent_at_ms": "'null'",
    "user_id": "if(user_id = '', 'null', toJSONString(user_id))",
    "anonymous_id": "if(anonymous_id = '', 'null', toJSONString(anonymous_id))",
    "identities": "toJSONString(identities)",
    "context": "context",
    "properties": "properties",
    "traits": "traits",
    "marks": "if(empty(marks), '[]', toJSONString(marks))",
    "raw_partition": "'-1'",
    # Asked for only of what no door lets in: a tag that was rebuilt from history.
    "raw_offset": "if(event = 'tag_backfilled', toString(raw_offset), '-1')",
    "offset": "toString(_offset)",
    "clock_ms": "toString(clock)",
}
# The partition's time at each event: needs all events of it in order, whoever's they are.
_CLOCKED: Final = """(
    SELECT *, toUnixTimestamp64Milli(max(received_at) OVER (
        PARTITION BY _partition ORDER BY _offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)) AS clock
    FROM events
)"""
_UNCLOCKED: Final = "(SELECT *, 0 AS clock FROM events)"
# Beyond a quarter of a gigabyte the server groups on its disk.
_SETTINGS: Final = {
    "strings_as_bytes": True,
    "server_side_params": True,
    "max_bytes_before_external_group_by": 1 << 28,
}


@dataclass(frozen=True, slots=True)
class Extent:
    """How much history there is; times are epoch ms, 0 where there is none."""

    events: int = 0
    users: int = 0
    first_ms: int = 0
    last_ms: int = 0


class History:
    """Events that arrived before ``until_ms``; serves one thread.

    ``clocked`` tells the partition's time at each event, for the price of sorting all of them.
    Raises ``PartMissing`` where ClickHouse does not answer or has no tables.
    """

    def __init__(self, url: str, until_ms: int, *, threads: int = 0, clocked: bool = False) -> None:
        self._url, self._until_ms = url, until_ms
        self._settings = _SETTINGS | ({"max_threads": threads} if threads else {})
        self._events = _CLOCKED if clocked else _UNCLOCKED
        self._row = "concat('[', " + ", ',', ".join(_FIELDS.values()) + ", ']')"

    def extent(self) -> Extent:
        """Return how much there is; users are counted to within a percent or two."""
        rows = self._ask(
            "SELECT count(), uniq(user), toUnixTimestamp64Milli(min(received_at)),"
            " toUnixTimestamp64Milli(max(received_at))"
            " FROM events WHERE received_at < fromUnixTimestamp64Milli({until:Int64})"
        )
        events, users, first_ms, last_ms = next(rows)
        return Extent(events, users, first_ms, last_ms) if events else Extent()

    def users(self, part: int, parts: int) -> Iterator[tuple[str, list[Event]]]:
        """Yield each user of one part of all users, with the user's events in log order."""
        where = f"cityHash64(user) % {int(parts)} = {int(part)}"
        for user, text in self._ask(self._grouped(where)):
            yield user.decode(), list(decode_events(text))

    def of_user(self, user: str) -> list[Event]:
        """Return one user's events in log order."""
        rows = self._ask(self._grouped("user = {user:String}"), user=user)
        return next((list(decode_events(text)) for _, text in rows), [])

    def _grouped(self, where: str) -> str:
        return f"""
            SELECT user, concat('[', arrayStringConcat(arrayMap(x -> x.3,
                arraySort(x -> (x.1, x.2), groupArray((_partition, _offset, row)))), ','), ']')
            FROM (
                SELECT user, _partition, _offset, {self._row} AS row FROM {self._events}
                WHERE {where} AND received_at < fromUnixTimestamp64Milli({{until:Int64}})
            )
            GROUP BY user
        """  # noqa: S608 - numbers, and this module's own text

    def _ask(self, query: str, **params: Any) -> Iterator[Any]:  # noqa: ANN401 - a driver's values
        client = connect(self._url, settings=self._settings)
        try:
            params["until"] = self._until_ms
            yield from client.execute_iter(query, params)
        except Exception as error:
            raise as_missing(error) or error from error
        finally:
            client.disconnect()


def ask(url: str, query: str, **params: Any) -> list[Any]:  # noqa: ANN401 - a driver's values
    """Return the rows of a query; raises ``PartMissing`` like ``History``."""
    client: Client = connect(url, settings={"server_side_params": True})
    try:
        rows: list[Any] = client.execute(query, params)
    except Exception as error:
        raise as_missing(error) or error from error
    else:
        return rows
    finally:
        client.disconnect()
