"""Questions of analysts: the SQL files of ``bi``, each with typed parameters and defaults.

A file opens with what it answers, a line for each parameter and column, and an example::

    -- :param from Date = 2000-01-01 -- first day
    -- :column day -- day of the event time
    -- :example funnel --param from=2026-11-01
    -- :plot bar event users

The name and type are those of ClickHouse's own ``{from:Date}`` in the query below, which
the server fills in: a value can never become SQL.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from clickhouse_driver import Client
from clickhouse_driver import errors as ch

from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from sinks.clickhouse.client import as_missing, connect, problem_of
from sinks.clickhouse.plot import Plot, draw, read_plot

FOLDER: Final = Path(__file__).parent / "bi"
_COLUMN: Final = re.compile(r"^-- :column (\w+) -- (.*)$")
_EXAMPLE: Final = "-- :example "
_PLOT: Final = "-- :plot "
_PARAM: Final = re.compile(r"^-- :param (\w+) (\S+) =(.*?) -- (.*)$")
_STALE: Final = """
SELECT count() > 0
FROM system.dictionaries
WHERE database = currentDatabase() AND name = 'persons' AND status = 'LOADED'
AND loading_start_time <=
(
    SELECT max(modification_time)
    FROM system.parts
    WHERE database = currentDatabase() AND table = 'identity_links'
)
"""
# What ClickHouse answers if a parameter's text is not of its type, or a query refuses its value.
_BAD_PARAMETER: Final = frozenset({6, 26, 27, 36, 38, 41, 69, 72, 117, 321, 395, 456, 457})


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter: its ClickHouse type, default and meaning."""

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Question:
    """One file of ``bi``: what it answers, its parameters and columns, an example, its SQL."""

    name: str
    answers: str
    params: tuple[Param, ...]
    columns: Mapping[str, str]
    example: str
    plot: Plot | None
    sql: str


def names() -> list[str]:
    """Return the names that ``run_query`` knows."""
    return sorted(path.stem for path in FOLDER.glob("*.sql"))


def describe(name: str) -> Question:
    """Return a question; raises ``ConfigInvalid`` with the nearest name for an unknown one."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(names())}"
        raise ConfigInvalid("query", f"no query is called {name!r}", hint=hint)
    sql = (FOLDER / f"{name}.sql").read_text("utf-8")
    return _read(name, sql)


def _read(name: str, sql: str) -> Question:
    answers, params, columns, example = [], [], {}, ""
    plot = None
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        if match := _PARAM.match(line):
            key, kind, default, meaning = match.groups()
            params.append(Param(key, kind, default.strip(), meaning.strip()))
        elif match := _COLUMN.match(line):
            columns[match[1]] = match[2].strip()
        elif line.startswith(_EXAMPLE):
            example = line.removeprefix(_EXAMPLE).strip()
        elif line.startswith(_PLOT):
            plot = read_plot(line.removeprefix(_PLOT))
        else:
            answers.append(line.removeprefix("--").strip())
    return Question(name, " ".join(answers).strip(), tuple(params), columns, example, plot, sql)


def run_query(
    settings: Settings, name: str, params: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return ``{"columns": [name, ...], "rows": [[value, ...], ...]}`` of a question.

    Values are JSON's: dates as ISO text, money as numbers.

    Raises ``ConfigInvalid`` for an unknown name, parameter or a value that is not of the
    parameter's type, and ``PartMissing`` where ClickHouse does not answer.
    """
    question = describe(name)
    values = {param.name: param.default for param in question.params}
    for key, value in (params or {}).items():
        if key not in values:
            raise ConfigInvalid(
                f"query {name}",
                f"no parameter {key!r}",
                hint=f"it has {', '.join(values) or 'none'}",
            )
        values[key] = str(value)
    client = connect(settings.clickhouse, settings={"server_side_params": True})
    try:
        refresh_persons(client)
        rows, columns = client.execute(question.sql, values, with_column_types=True)
    except Exception as error:
        if isinstance(error, ch.ServerException) and error.code in _BAD_PARAMETER:
            raise ConfigInvalid(
                f"query {name}", problem_of(error), hint=_types(question)
            ) from error
        raise as_missing(error) or error from error
    finally:
        client.disconnect()
    return {
        "columns": [column for column, _ in columns],
        "rows": [[_plain(value) for value in row] for row in rows],
    }


def plot_answer(file: Path, name: str, answer: Mapping[str, Any]) -> None:
    """Draw what ``run_query`` answered; raises ``ConfigInvalid`` for a question without a plot."""
    question = describe(name)
    if question.plot is None:
        raise ConfigInvalid(
            f"query {name}", "its file says of no picture", hint=f"add a `{_PLOT}` line to it"
        )
    draw(file, name, question.plot, answer)


def refresh_persons(client: Client) -> None:
    """Have the links of identity read anew if they have changed since they were read.

    A server does so by itself every ten seconds. `clickhouse local`, which the embedded stack
    runs, never does; an analyst may not, and need not.
    """
    try:
        (stale,) = client.execute(_STALE)[0]
        if stale:
            client.execute("SYSTEM RELOAD DICTIONARY persons")
    except ch.ServerException as refused:
        if refused.code != ch.ErrorCodes.ACCESS_DENIED:
            raise


def _types(question: Question) -> str:
    return ", ".join(f"{param.name} {param.type}" for param in question.params)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value that the driver returns
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date) else value
