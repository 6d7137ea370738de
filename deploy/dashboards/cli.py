"""`siyu dashboards`: write the boards for Grafana and Superset."""

import json
from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_URL: Final = "clickhousedb://analyst@clickhouse:8123/siyu"


def dashboards(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    *,
    clickhouse: Annotated[
        str, typer.Option(help="Where Superset finds ClickHouse (HTTP), without a password.")
    ] = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Write dashboards for Grafana and Superset from the questions of `siyu query`."""
    from deploy.dashboards import grafana, superset
    from deploy.dashboards.boards import load

    boards = load()
    files = grafana.write(out / "grafana", boards)
    superset.write(out / "superset.zip", boards, clickhouse)
    files.append(out / "superset.zip")
    if as_json:
        charts = sum(len(board.charts) for board in boards)
        summary = {"dashboards": len(boards), "charts": charts, "files": [str(f) for f in files]}
        print(json.dumps(summary))
    else:
        print("\n".join(map(str, files)))
