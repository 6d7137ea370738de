"""The latest tags against the changes, in the order of the log."""

from typing import Any

import pytest

from schemas.settings import Settings
from schemas.touches import TagChanges, encode
from sinks.clickhouse.aggregates import aggregates, difference, rebuild
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import migrate
from sinks.clickhouse.rows import build_parts, span_of
from sinks.clickhouse.writer import Writer
from tests.bi_harness import NOON_MS
from tests.land_harness import Logged

pytestmark = pytest.mark.integration


def change(user: str, value: Any) -> bytes:  # noqa: ANN401 - any JSON
    return encode(TagChanges(user=user, changes=[("n", None, value)], time_ms=NOON_MS))


def land(settings: Settings, records: list[Logged]) -> None:
    writer = Writer(settings)
    for part in build_parts(span_of("tags", 0, records), records):
        writer.insert(part)
    writer.close()


def drift(client: Any) -> tuple[int, int, int]:  # noqa: ANN401 - the driver is untyped
    (latest,) = (one for one in aggregates(client) if one.name == "tags_latest")
    return difference(client, latest)


def repaired(client: Any) -> None:  # noqa: ANN401 - as above
    (latest,) = (one for one in aggregates(client) if one.name == "tags_latest")
    rebuild(client, latest)
    assert drift(client)[1:] == (0, 0)


def test_a_latest_tag_that_is_not_the_newest_change_is_told_and_made_anew(
    clickhouse_url: str,
) -> None:
    settings = Settings(clickhouse=clickhouse_url)
    migrate(settings)
    client = connect(clickhouse_url)
    land(settings, [Logged(n, change(f"u{n % 3}", n), NOON_MS + n) for n in range(7)])
    assert drift(client) == (3, 0, 0)
    # Merged or not, repeated or not: the same.
    client.execute("INSERT INTO tags_latest SELECT * FROM tags_latest")
    client.execute("OPTIMIZE TABLE tags_latest FINAL")
    assert drift(client) == (3, 0, 0)
    client.execute(
        "ALTER TABLE tags_latest UPDATE after = '99' WHERE user = 'u1' SETTINGS mutations_sync = 2"
    )
    assert drift(client) == (3, 1, 1)
    repaired(client)
    client.execute("ALTER TABLE tags_latest DELETE WHERE user = 'u2' SETTINGS mutations_sync = 2")
    assert drift(client) == (2, 0, 1)
    repaired(client)
    client.disconnect()


def test_the_order_is_the_logs_and_not_that_of_the_writers_clocks(clickhouse_url: str) -> None:
    settings = Settings(clickhouse=clickhouse_url)
    migrate(settings)
    client = connect(clickhouse_url)
    # The partition went from a worker whose clock is an hour ahead to one whose clock is right.
    land(settings, [Logged(0, change("u", 1), NOON_MS + 3_600_000), Logged(1, change("u", 2))])
    assert drift(client) == (1, 1, 1)
    repaired(client)
    assert client.execute("SELECT value FROM user_tags") == [("2",)]
    # What comes next takes the place of the repaired.
    land(settings, [Logged(2, change("u", 3), NOON_MS + 3_700_000)])
    assert client.execute("SELECT value FROM user_tags") == [("3",)]
    assert drift(client) == (1, 0, 0)
    client.disconnect()
