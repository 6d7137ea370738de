"""What the pipeline itself writes of a user is no behaviour, in no question and no aggregate."""

from pathlib import Path
from typing import Any

import pytest

from schemas.settings import Settings
from schemas.tags import BACKFILLED, IMPORTED, SILENT, TOUCH_FAILED
from sinks.clickhouse.aggregates import aggregates, difference
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import MIGRATIONS, migrate
from sinks.clickhouse.query import names
from tests.bi_harness import ask, happened, land, paid, table

pytestmark = pytest.mark.integration

BEHAVIOUR = [
    happened("a", "page_viewed", 0),
    happened("a", "product_viewed", 0.01),
    paid("a", 0.02, 10),
    happened("a", "page_viewed", 3),
    happened("b", "product_viewed", 1),
    paid("b", 4, 20),
    happened("b", "product_viewed", 4.01),
    happened("c", "page_viewed", 5),
]
# Before, amid and after what users did, and of one who never did anything.
SYSTEM = [
    happened("b", IMPORTED, -3, source="server", context={"channel": "crm"}),
    happened("a", BACKFILLED, 0.015, source="server"),
    happened("a", TOUCH_FAILED, 0.03),
    happened("c", TOUCH_FAILED, 20),
    happened("z", IMPORTED, 1, source="server"),
    happened("z", IMPORTED, 9, source="server"),
]
NAMED = [("retention", {"first": "order_paid"}), ("retention", {"event": "page_viewed"})]
# These two tell of the pipeline, and of all that passes it.
OF_THE_PIPELINE = {"pipeline_delay", "rejects_by_reason"}


def answers(settings: Settings) -> dict[str, Any]:
    questions: list[tuple[str, dict[str, str]]] = list(NAMED)
    questions += [(name, {}) for name in names() if name not in OF_THE_PIPELINE]
    return {f"{name} {params}": ask(settings, name, **params) for name, params in questions}


def counted(settings: Settings) -> dict[str, Any]:
    client = connect(settings.clickhouse)
    try:
        return {
            name: client.execute(f"SELECT sum(events), uniqMerge(users) FROM {name}")  # noqa: S608 - these two
            for name in ("events_per_minute", "users_per_day")
        }
    finally:
        client.disconnect()


def test_no_question_about_users_counts_what_the_pipeline_wrote(clickhouse_url: str) -> None:
    settings = Settings(clickhouse=clickhouse_url)
    migrate(settings)
    land(settings, "events", BEHAVIOUR)
    before = answers(settings), counted(settings)
    assert before[1] == {one: [(8, 3)] for one in ("events_per_minute", "users_per_day")}
    land(settings, "events", SYSTEM)
    assert (answers(settings), counted(settings)) == before


def test_a_question_that_names_such_an_event_has_it(clickhouse_url: str) -> None:
    settings = Settings(clickhouse=clickhouse_url)
    migrate(settings)
    land(settings, "events", BEHAVIOUR + SYSTEM)
    assert table(settings, "funnel", "users", steps=f"order_paid,{TOUCH_FAILED}") == [(2,), (1,)]
    assert table(settings, "next_steps", "next times", after=IMPORTED) == [("(end)", 3)]
    # The import is where the cohort begins, not a visit in it.
    cohorts = table(settings, "retention", "cohort cohort_size n", first=IMPORTED)
    assert cohorts == [("2025-12-29", 1, 4), ("2025-12-29", 1, 7)]
    client = connect(settings.clickhouse)
    assert client.execute("SELECT uniqExact(event) FROM journeys WHERE silent") == [(len(SILENT),)]
    client.disconnect()


def test_what_had_landed_before_is_counted_anew(clickhouse_url: str, tmp_path: Path) -> None:
    settings = Settings(clickhouse=clickhouse_url)
    for path in MIGRATIONS.glob("*.sql"):
        if path.name < "0017":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    migrate(settings, folder=tmp_path)
    land(settings, "events", BEHAVIOUR + SYSTEM)
    assert "0017_silent.sql" in migrate(settings)
    assert counted(settings)["users_per_day"] == [(8, 3)]
    land(settings, "events", [*SYSTEM, happened("d", "page_viewed", 6)])
    assert counted(settings)["events_per_minute"] == [(9, 4)]
    client = connect(settings.clickhouse)
    found = {one.name: difference(client, one) for one in aggregates(client)}
    client.disconnect()
    assert {"activity", "users", "users_per_day", "events_per_minute"} <= found.keys()
    assert all(wrong == absent == 0 < rows for rows, wrong, absent in found.values() if rows), found
