import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar

from deploy.dashboards import superset
from deploy.dashboards.boards import Chart, load
from deploy.local.stack import StackInfo
from schemas.settings import Settings
from sinks.clickhouse.client import database_of
from sinks.clickhouse.query import run_query
from tests.contract import superset_server
from tests.dashboards_story import told_in

pytestmark = [pytest.mark.integration, pytest.mark.contract, pytest.mark.slow]

DAYS = ("2026-01-05", "2026-01-10")


@pytest.fixture
def told(clickhouse_url: str) -> Settings:
    return told_in(clickhouse_url)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with superset_server.serving(tmp_path) as found:
        yield found


def _number(value: Any) -> Decimal:  # noqa: ANN401 - a cell of either side
    return Decimal(str(value)) if isinstance(value, int | float | str) else Decimal(0)


def _totals(chart: Chart, rows: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Return what both sides must agree on: each value's sum, or the number of rows."""
    if chart.show == "table":
        return Counter(rows=len(rows))
    return {
        name: round(sum((_number(row[name]) for row in rows), Decimal(0)), 2)
        for name in chart.values
    }


def _asked(settings: Settings, chart: Chart, params: Mapping[str, str]) -> list[dict[str, Any]]:
    takes = {param.name for param in chart.question.params}
    given = {name: value for name, value in params.items() if name in takes}
    fixed = {name: str(value) for name, value in chart.fixed.items()}
    answer = run_query(settings, chart.query, given | fixed)
    return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]


class Client:
    """What a browser would ask of Superset, over its REST API."""

    def __init__(self, session: ClientSession, address: str) -> None:
        self._session, self._address = session, address

    async def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        async with self._session.get(f"{self._address}/api/v1/{path}") as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def contexts(self) -> dict[str, dict[str, Any]]:
        """Return the stored query of every chart by its title."""
        listed = (await self.get("chart/?q=(page_size:100)"))["result"]
        charts = [(await self.get(f"chart/{one['id']}"))["result"] for one in listed]
        return {chart["slice_name"]: json.loads(chart["query_context"]) for chart in charts}

    async def rows(self, context: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what a chart's query answers."""
        url = f"{self._address}/api/v1/chart/data"
        async with self._session.post(url, json=context) as answer:
            assert answer.status == 200, await answer.text()
            (result,) = (await answer.json())["result"]
        assert result["error"] is None, result["error"]
        found: list[dict[str, Any]] = result["data"]
        return found


async def _compare(address: str, bundle: bytes, settings: Settings) -> None:
    charts = [chart for board in load() for chart in board.charts]
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:  # of an IP address
        await superset_server.login(session, address)
        for _ in range(2):  # the second import replaces, it does not double
            assert await superset_server.load(session, address, bundle) == (
                200,
                '{"message":"OK"}\n',
            )
        client = Client(session, address)
        boards = (await client.get("dashboard/"))["result"]
        assert {board["slug"] for board in boards} == {f"siyu-{board.id}" for board in load()}
        for board in load():
            shown = (await client.get(f"dashboard/siyu-{board.id}/charts"))["result"]
            assert len(shown) == len(board.charts)
        contexts = await client.contexts()
        assert contexts.keys() == {chart.title for chart in charts}
        for chart in charts:
            rows = await client.rows(contexts[chart.title])
            assert rows, chart.title
            assert _totals(chart, rows) == _totals(chart, _asked(settings, chart, {})), chart.title
        await _compare_days(client, contexts, settings, charts)


async def _compare_days(
    client: Client, contexts: dict[str, Any], settings: Settings, charts: list[Chart]
) -> None:
    """The time range of a dashboard, whose end is exclusive, is the question's own days."""
    first, last = DAYS
    for chart in charts:
        if chart.query not in {"gmv_daily", "active_users", "funnel", "touches_by_rule"}:
            continue
        context = contexts[chart.title]
        context["queries"][0]["time_range"] = f"{first}T00:00:00 : 2026-01-11T00:00:00"
        asked = _asked(settings, chart, {"from": first, "to": last})
        assert _totals(chart, await client.rows(context)) == _totals(chart, asked), chart.title
        assert _totals(chart, asked) != _totals(chart, _asked(settings, chart, {})), chart.title


def test_each_chart_of_the_imported_bundle_answers_what_its_question_answers(
    told: Settings, stack: StackInfo, address: str, tmp_path: Path
) -> None:
    assert stack.clickhouse_http is not None
    server = stack.clickhouse_http.removeprefix("http://")
    bundle = tmp_path / "superset.zip"
    superset.write(
        bundle, load(), f"clickhousedb://default@{server}/{database_of(told.clickhouse)}"
    )
    asyncio.run(_compare(address, bundle.read_bytes(), told))
