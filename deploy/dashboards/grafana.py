"""The boards for Grafana: provisioning of the data source and of one JSON model a dashboard.

Made for the official data source `grafana-clickhouse-datasource` (4.x), over its native protocol.
"""

import json
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.dashboards.boards import COLUMNS, Board, Chart, Json, call, fixed, rows

PLUGIN: Final = "grafana-clickhouse-datasource"
SOURCE: Final = {"type": PLUGIN, "uid": "siyu-clickhouse"}
_FOLDER: Final = "/var/lib/grafana/dashboards/siyu"
_HEIGHT: Final = 9
_PANELS: Final = {
    "lines": "timeseries",
    "bars": "barchart",
    "number": "stat",
    "table": "table",
    "matrix": "table",
    "funnel": "bargauge",
    "flow": "table",
}
_TZ: Final = "Asia/Shanghai"
_SOURCES: Final = ("all", "app", "mini_program", "official_account", "web", "server")
# Controls of a dashboard: what stands for a parameter in the SQL. An empty value cannot be
# chosen in Grafana, so "all" stands for it.
_CONTROLS: Final = {
    "from": f"toDate($__fromTime, '{_TZ}')",
    "to": f"toDate($__toTime, '{_TZ}')",
    "period": "${period:sqlstring}",
    "source": "if(${source:sqlstring} = 'all', '', ${source:sqlstring})",
    "rule": "if(${rule:sqlstring} = 'all', '', ${rule:sqlstring})",
}


def write(folder: Path, boards: list[Board]) -> list[Path]:
    """Write `provisioning/` and `dashboards/` for Grafana; return the files."""
    files = {
        folder / "provisioning/datasources/siyu.yaml": yaml.safe_dump(_datasource()),
        folder / "provisioning/dashboards/siyu.yaml": yaml.safe_dump(_provider()),
    }
    for board in boards:
        model = json.dumps(dashboard(board), ensure_ascii=False, indent=2)
        files[folder / f"dashboards/{board.id}.json"] = model + "\n"
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return list(files)


def dashboard(board: Board) -> Json:
    """Return the JSON model of one board."""
    panels: list[Json] = []
    for line, charts in enumerate(rows(board.charts)):
        at = 0
        for chart in charts:
            width = chart.width * 24 // COLUMNS
            place = {"x": at, "y": line * _HEIGHT, "w": width, "h": _HEIGHT}
            panels.append(_panel(len(panels) + 1, chart) | {"gridPos": place})
            at += width
    return {
        "uid": f"siyu-{board.id}",
        "title": board.title,
        "tags": ["siyu"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": _TZ,
        "time": {"from": "now-90d", "to": "now"},
        "templating": {"list": [_VARIABLES[name] for name in _VARIABLES if name in board.params()]},
        "panels": panels,
    }


def _panel(number: int, chart: Chart) -> Json:
    return {
        "id": number,
        "title": chart.title,
        "description": chart.question.answers,
        "type": _PANELS[chart.show],
        "datasource": SOURCE,
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "pluginVersion": "4.0.0",
                "editorType": "sql",
                "format": 0 if chart.show == "lines" else 1,
                "queryType": "timeseries" if chart.show == "lines" else "table",
                "rawSql": panel_sql(chart),
            }
        ],
        "options": _options(chart),
        "fieldConfig": {"defaults": {}, "overrides": []},
        "transformations": _transformations(chart),
    }


def panel_sql(chart: Chart) -> str:
    """Return what a panel sends: the question, cut to the columns that are shown."""
    view = call(chart.question, _CONTROLS | fixed(chart))
    if chart.show == "lines":
        # The data source wants the time first, then what names the series, then the values.
        # A day becomes its first moment; a row without a time could not be drawn anyway.
        time = f"assumeNotNull(toDateTime(`{chart.x}`, '{_TZ}')) AS time"
        by = [f"toString(`{chart.by}`) AS series"] if chart.by else []
        columns = [time, *by, *(f"toFloat64(`{name}`) AS `{name}`" for name in chart.values)]
    else:
        names = [name for name in (chart.x, chart.by) if name and name not in chart.values]
        columns = [f"`{name}`" for name in [*names, *chart.values]]
    order = " ORDER BY time" if chart.show == "lines" else ""
    return f"SELECT {', '.join(columns)} FROM {view}{order}"  # noqa: S608 - names of boards.yaml, checked


def _options(chart: Chart) -> Json:
    if chart.show == "bars":
        return {"xField": chart.x, "stacking": "normal", "legend": {"displayMode": "list"}}
    if chart.show == "funnel":
        whole = {"values": True, "calcs": [], "fields": f"/^{chart.values[0]}$/"}
        return {"orientation": "horizontal", "displayMode": "gradient", "reduceOptions": whole}
    if chart.show == "number":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}}
    return {}


def _transformations(chart: Chart) -> list[Json]:
    if chart.show != "matrix":
        return []
    fields = {"rowField": chart.x, "columnField": chart.by, "valueField": chart.values[0]}
    return [{"id": "groupingToMatrix", "options": {**fields, "emptyValue": "empty"}}]


def _choice(name: str, label: str, values: tuple[str, ...]) -> Json:
    options = [{"text": value, "value": value, "selected": value == values[0]} for value in values]
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "query": ",".join(values),
        "options": options,
        "current": options[0],
        "multi": False,
        "includeAll": False,
    }


_VARIABLES: Final[dict[str, Json]] = {
    "period": _choice("period", "Period", ("day", "week", "month")),
    "source": _choice("source", "Source", _SOURCES),
    "rule": {
        "type": "query",
        "name": "rule",
        "label": "Rule",
        "datasource": SOURCE,
        "refresh": 1,
        "query": "SELECT 'all' AS rule UNION ALL SELECT DISTINCT rule FROM touches_by_rule",
        "current": {"text": "all", "value": "all"},
        "multi": False,
        "includeAll": False,
    },
}


def _datasource() -> Json:
    connection: dict[str, Any] = {
        "host": "$SIYU_CLICKHOUSE_HOST",
        "port": 9000,
        "protocol": "native",
        "username": "$SIYU_ANALYST",
        "defaultDatabase": "siyu",
    }
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Siyu",
                "uid": SOURCE["uid"],
                "type": PLUGIN,
                "access": "proxy",
                "jsonData": connection,
                "secureJsonData": {"password": "$SIYU_ANALYST_PASSWORD"},
            }
        ],
    }


def _provider() -> Json:
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "siyu",
                "folder": "Siyu",
                "type": "file",
                "allowUiUpdates": False,
                "options": {"path": _FOLDER},
            }
        ],
    }
