"""The boards for Superset: one bundle for `POST /api/v1/assets/import/`.

Each question of a board becomes a virtual dataset over its view (Superset writes queries anew,
so their own text must not pass through it). Its days follow the time range of the
dashboard by Superset's templates (`ENABLE_TEMPLATE_PROCESSING`). Identifiers are derived from
names: importing again replaces, and never doubles.
"""

import json
import zipfile
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

import yaml

from deploy.dashboards.boards import Board, Chart, Json, call, fixed, rows

VERSION: Final = "1.0.0"
_NAMES: Final = UUID("5b1f6a2e-7c1d-5c43-9b53-6f1f0e4a7d10")
_ROOT: Final = "siyu_bundle"
# A file's time in the archive: the same boards make the same bytes.
_EPOCH: Final = (2026, 1, 1, 0, 0, 0)
_ROW_LIMIT: Final = 10_000
_HEIGHT: Final = 50
_VIZ: Final = {
    "lines": "echarts_timeseries_line",
    "bars": "echarts_timeseries_bar",
    "number": "big_number_total",
    "table": "table",
    "matrix": "pivot_table_v2",
    "funnel": "funnel",
    "flow": "sankey_v2",
}
# The time range of the dashboard, if it has one; its end is the first moment after it.
_DAYS: Final = {
    "from": "toDate('{{ (from_dttm or '2000-01-01')[:10] }}')",
    "to": "toDate('{{ (to_dttm or '2100-01-02')[:10] }}') - 1",
}


def bundle(boards: list[Board], clickhouse: str) -> dict[str, Json]:
    """Return the files of the bundle; ``clickhouse`` is an SQLAlchemy address."""
    files = {
        "metadata.yaml": {"version": VERSION, "type": "assets", "timestamp": "2026-01-01T00:00:00"},
        "databases/siyu.yaml": _database(clickhouse),
    }
    for board in boards:
        for chart in board.charts:
            name = _dataset_name(chart)
            files[f"datasets/siyu/{_slug(name)}.yaml"] = _dataset(name, chart)
            files[f"charts/{_slug(chart.key(board.id))}.yaml"] = _chart(board, chart)
        files[f"dashboards/{board.id}.yaml"] = _dashboard(board)
    return files


def write(file: Path, boards: list[Board], clickhouse: str) -> None:
    """Write the bundle as a ZIP archive."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in bundle(boards, clickhouse).items():
            text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
            archive.writestr(zipfile.ZipInfo(f"{_ROOT}/{name}", _EPOCH), text)


def _id(kind: str, name: str) -> str:
    return str(uuid5(_NAMES, f"{kind}:{name}"))


def _slug(name: str) -> str:
    return (
        _id("file", name)[:8]
        + "_"
        + "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
    )


def _database(clickhouse: str) -> Json:
    return {
        "database_name": "Siyu",
        "sqlalchemy_uri": clickhouse,
        "expose_in_sqllab": True,
        "allow_dml": False,
        "extra": {"allows_virtual_table_explore": True},
        "uuid": _id("database", "siyu"),
        "version": VERSION,
    }


def _dataset_name(chart: Chart) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in sorted(chart.fixed.items()))
    return f"siyu {chart.query}" + (f" ({parameters})" if parameters else "")


def _dataset(name: str, chart: Chart) -> Json:
    question = chart.question
    return {
        "table_name": name,
        "description": question.answers,
        "sql": f"SELECT * FROM {call(question, _DAYS | fixed(chart))}",  # noqa: S608 - names of the questions, checked
        "columns": [
            {"column_name": column, "description": meaning, "groupby": True, "filterable": True}
            for column, meaning in question.columns.items()
        ],
        "metrics": [],
        "uuid": _id("dataset", name),
        "version": VERSION,
        "database_uuid": _id("database", "siyu"),
    }


def _chart(board: Board, chart: Chart) -> Json:
    form = _form(chart)
    context = {
        "datasource": {"id": 0, "type": "table"},  # the import puts the dataset's number here
        "force": False,
        "queries": [_query(chart)],
        "form_data": form,
        "result_format": "json",
        "result_type": "full",
    }
    return {
        "slice_name": chart.title,
        "description": chart.question.answers,
        "viz_type": _VIZ[chart.show],
        "params": form,
        "query_context": json.dumps(context, ensure_ascii=False),
        "uuid": _id("chart", chart.key(board.id)),
        "version": VERSION,
        "dataset_uuid": _id("dataset", _dataset_name(chart)),
    }


def _metric(column: str) -> Json:
    # The question has aggregated already: a row is a point, and a sum of one row is the row.
    return {
        "expressionType": "SQL",
        "sqlExpression": f"sum(`{column}`)",
        "label": column,
        "hasCustomLabel": True,
        "optionName": f"metric_{column}",
    }


def _form(chart: Chart) -> Json:
    """Return the form data of a chart, as Superset's own editor would save them."""
    metrics = [_metric(name) for name in chart.values] if chart.show != "table" else []
    common: Json = {"viz_type": _VIZ[chart.show], "row_limit": _ROW_LIMIT, "adhoc_filters": []}
    by = [chart.by] if chart.by else []
    match chart.show:
        case "table":
            own: Json = {"query_mode": "raw", "all_columns": chart.values, "order_by_cols": []}
        case "matrix":
            own = {
                "groupbyRows": [chart.x],
                "groupbyColumns": by,
                "metrics": metrics,
                "aggregateFunction": "Sum",
                "metricsLayout": "COLUMNS",
                "rowTotals": False,
            }
        case "funnel":
            own = {"groupby": [chart.x], "metric": metrics[0], "sort_by_metric": True}
        case "flow":
            own = {"source": chart.x, "target": chart.by, "metric": metrics[0]}
        case "number":
            own = {"metric": metrics[0]}
        case _:
            own = {
                "x_axis": chart.x,
                "groupby": by,
                "metrics": metrics,
                "rich_tooltip": True,
                "show_legend": True,
                "time_grain_sqla": None,
                "x_axis_sort_asc": True,
                "stack": "Stack" if chart.show == "bars" else None,
            }
    return common | own


def _query(chart: Chart) -> Json:
    """Return the query that the chart sends, as its plugin builds it from the form data."""
    raw = chart.show == "table"
    keys = [name for name in (chart.x, chart.by) if name]
    return {
        "columns": chart.values if raw else keys,
        "metrics": [] if raw else [_metric(name) for name in chart.values],
        "orderby": [[chart.x, True]] if chart.show in {"lines", "bars"} else [],
        "filters": [],
        "extras": {"having": "", "where": ""},
        "row_limit": _ROW_LIMIT,
        "series_limit": 0,
        "is_timeseries": False,
        "post_processing": [],
    }


def _dashboard(board: Board) -> Json:
    return {
        "dashboard_title": board.title,
        "slug": f"siyu-{board.id}",
        "uuid": _id("dashboard", board.id),
        "position": _position(board),
        "metadata": {
            "native_filter_configuration": [_time_range(board)],
            "chart_configuration": {},
            "color_scheme": "supersetColors",
        },
        "published": True,
        "version": VERSION,
    }


def _time_range(board: Board) -> Json:
    return {
        "id": f"NATIVE_FILTER-{board.id}-days",
        "name": "Days 日期",
        "filterType": "filter_time",
        "type": "NATIVE_FILTER",
        "targets": [{}],
        "controlValues": {},
        "cascadeParentIds": [],
        "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
        "defaultDataMask": {
            "extraFormData": {"time_range": "No filter"},
            "filterState": {"value": "No filter"},
        },
    }


def _position(board: Board) -> Json:
    lines = rows(board.charts)
    tree: Json = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {
            "type": "GRID",
            "id": "GRID_ID",
            "parents": ["ROOT_ID"],
            "children": [f"ROW-{number}" for number in range(len(lines))],
        },
    }
    for number, charts in enumerate(lines):
        row = f"ROW-{number}"
        uuids = [_id("chart", chart.key(board.id)) for chart in charts]
        tree[row] = {
            "type": "ROW",
            "id": row,
            "parents": ["ROOT_ID", "GRID_ID"],
            "children": [f"CHART-{uuid}" for uuid in uuids],
            "meta": {"background": "BACKGROUND_TRANSPARENT"},
        }
        for uuid, chart in zip(uuids, charts, strict=True):
            tree[f"CHART-{uuid}"] = {
                "type": "CHART",
                "id": f"CHART-{uuid}",
                "children": [],
                "parents": ["ROOT_ID", "GRID_ID", row],
                # The import puts the chart's number in the place of 0.
                "meta": {
                    "uuid": uuid,
                    "chartId": 0,
                    "sliceName": chart.title,
                    "width": chart.width,
                    "height": _HEIGHT,
                },
            }
    return tree
