import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from deploy.dashboards import grafana, superset
from deploy.dashboards.boards import FILE, Board, Chart, load
from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from sinks.clickhouse.client import connect
from sinks.clickhouse.query import describe, names, run_query
from sinks.clickhouse.views import make_views, view_of
from tests.dashboards_story import FIRST_DAY, LAST_DAY, told_in

pytestmark = pytest.mark.integration

CHOSEN = {"period": "day", "source": "all", "rule": "all"}


@pytest.fixture
def told(clickhouse_url: str) -> Settings:
    return told_in(clickhouse_url)


def _expanded(raw_sql: str, chosen: dict[str, str]) -> str:
    """Return what the data source sends: the front end puts in variables, its back end macros.

    As in the plugin's `pkg/macros`: `$__fromTime` becomes `toDateTime(<seconds>)`.
    """
    for name, day in (("$__fromTime", FIRST_DAY), ("$__toTime", LAST_DAY)):
        at = datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)
        raw_sql = raw_sql.replace(name, f"toDateTime({int(at.timestamp())})")
    return re.sub(r"\$\{(\w+):sqlstring\}", lambda match: f"'{chosen[match[1]]}'", raw_sql)


def test_each_panel_of_grafana_answers_and_shows_the_columns_it_names(
    told: Settings, tmp_path: Path
) -> None:
    grafana.write(tmp_path, load())
    client = connect(told.clickhouse)
    models = [json.loads(file.read_text("utf-8")) for file in tmp_path.glob("dashboards/*.json")]
    assert sum(len(model["panels"]) for model in models) == sum(len(b.charts) for b in load())
    for model in models:
        for panel in model["panels"]:
            (target,) = panel["targets"]
            sql = _expanded(target["rawSql"], CHOSEN)
            assert "$" not in sql
            rows, columns = client.execute(sql, with_column_types=True)
            assert rows, panel["title"]
            if panel["type"] == "timeseries":
                # A time first, then what names the series, then numbers.
                assert columns[0][0] == "time"
                assert columns[0][1].startswith("DateTime")
                assert {kind for name, kind in columns[1:] if name != "series"} <= {
                    "Float64",
                    "Nullable(Float64)",
                }
    client.disconnect()


def test_the_controls_of_grafana_reach_the_question(told: Settings) -> None:
    chart = next(c for board in load() for c in board.charts if c.query == "gmv_daily")
    sql = _expanded(grafana.panel_sql(chart), CHOSEN | {"source": "app"})
    client = connect(told.clickhouse)
    shown = sum(gmv for _, gmv in client.execute(sql))
    client.disconnect()
    answer = run_query(told, "gmv_daily", {"source": "app"})
    assert shown == sum(row[answer["columns"].index("gmv")] for row in answer["rows"])
    assert (
        0
        < shown
        < sum(row[answer["columns"].index("gmv")] for row in run_query(told, "gmv_daily")["rows"])
    )


def test_each_control_that_a_panel_reads_is_on_its_dashboard() -> None:
    for board in load():
        model = grafana.dashboard(board)
        offered = {variable["name"] for variable in model["templating"]["list"]}
        read = set(re.findall(r"\$\{(\w+)", json.dumps(model["panels"])))
        assert read == offered
        places = [tuple(panel["gridPos"].values()) for panel in model["panels"]]
        assert len(set(places)) == len(places)
        assert all(x + width <= 24 for x, _, width, _ in places)


def test_every_view_answers_what_its_question_answers(told: Settings) -> None:
    client = connect(told.clickhouse)
    for question in map(describe, names()):
        given = ", ".join(f"`{p.name}` = '{p.default}'" for p in question.params)
        # Text for any type: a view reads it as the parameter's type, like `siyu query`.
        rows = client.execute(f"SELECT * FROM {view_of(question)}({given})")  # noqa: S608 - our names
        assert len(rows) == len(run_query(told, question.name)["rows"]), question.name
    client.disconnect()


def test_views_are_made_again_only_where_their_text_has_changed(told: Settings) -> None:
    assert make_views(told) == []
    client = connect(told.clickhouse)
    client.execute("CREATE OR REPLACE VIEW ask_funnel AS SELECT 1 COMMENT 'another text'")
    client.execute("DROP VIEW ask_rfm")
    client.disconnect()
    assert make_views(told) == ["ask_funnel", "ask_rfm"]


def test_the_same_boards_make_the_same_bundle_and_no_name_stands_twice(tmp_path: Path) -> None:
    address = "clickhousedb://analyst@clickhouse:8123/siyu"
    for name in ("one.zip", "two.zip"):
        superset.write(tmp_path / name, load(), address)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    files = superset.bundle(load(), address)
    uuids = [content["uuid"] for content in files.values() if "uuid" in content]
    assert len(set(uuids)) == len(uuids)
    titles = [chart.title for board in load() for chart in board.charts]
    assert len(set(titles)) == len(titles)


def test_every_question_of_the_boards_is_asked_and_no_other_is_left_out() -> None:
    asked = {chart.query for board in load() for chart in board.charts}
    assert asked == set(names())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"query": "stickines"}, "did you mean stickiness"),
        ({"y": ["daus"]}, "stickiness has no column 'daus'"),
        ({"set": {"perod": "week"}}, "stickiness has no parameter 'perod'"),
        ({"x": ""}, "need an x"),
        ({"width": 13}, "<= 12"),
        ({"colour": "red"}, "unknown field"),
    ],
)
def test_a_wrong_board_is_told_before_anything_is_written(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    board = yaml.safe_load(FILE.read_text("utf-8"))[0]
    board["charts"] = [board["charts"][0] | change]
    wrong = tmp_path / "boards.yaml"
    wrong.write_text(yaml.safe_dump([board]), "utf-8")
    with pytest.raises(ConfigInvalid, match=said):
        load(wrong)


def test_charts_fill_rows_and_none_is_wider_than_the_board() -> None:
    def chart(width: int) -> Chart:
        return Chart(title="t", query="growth", show="lines", x="start", y=["new"], width=width)

    board = Board(id="b", title="b", charts=[chart(8), chart(6), chart(6), chart(12)])
    places = [panel["gridPos"] for panel in grafana.dashboard(board)["panels"]]
    assert [(place["x"], place["y"]) for place in places] == [(0, 0), (0, 9), (12, 9), (0, 18)]
