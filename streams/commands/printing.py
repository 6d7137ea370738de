"""What commands print: one JSON object for programs, tables for people."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from streams.terminal import print_rows

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print one JSON object on stdout."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    print(text)  # noqa: T201 - printing is what this is for


def end_tests(failures: Sequence[object], *, as_json: bool, **counts: int) -> NoReturn:
    """Print what tests of a rulebook found, with what was counted; exit 1 on a failure."""
    if as_json:
        print_json(
            {"ok": not failures, **counts, "failures": [str(failure) for failure in failures]}
        )
    else:
        for failure in failures:
            print(failure)  # noqa: T201 - as above
        sums = [f"{count} {what}" for what, count in counts.items()]
        print(", ".join([*sums, f"{len(failures)} failures"]))  # noqa: T201 - as above
    raise typer.Exit(1 if failures else 0)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table for people; nothing is cut, however narrow the terminal is."""
    print_rows(Console(), columns, rows)
