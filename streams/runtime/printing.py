"""What commands print: one JSON object for programs, tables for people."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, no progress.")]


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print one JSON object on stdout."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    print(text)  # noqa: T201 - printing is what this is for


def print_table(columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table for people."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)
