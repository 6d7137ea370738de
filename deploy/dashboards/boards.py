"""The boards as `boards.yaml` lists them, checked against the questions that they ask."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import yaml

from schemas.errors import ConfigInvalid
from sinks.clickhouse.query import Question, describe
from sinks.clickhouse.views import view_of

FILE: Final = Path(__file__).parent / "boards.yaml"
COLUMNS: Final = 12
Json = dict[str, Any]
Show = Literal["lines", "bars", "number", "table", "matrix", "funnel", "flow"]


class Chart(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One chart: a question, the columns to show and how."""

    title: str
    query: str
    show: Show
    y: list[str] | Literal["*"]
    width: Annotated[int, msgspec.Meta(ge=1, le=COLUMNS)]
    x: str = ""
    by: str = ""
    fixed: Mapping[str, str | int] = msgspec.field(name="set", default_factory=dict)

    @property
    def question(self) -> Question:
        """The question with its SQL."""
        return describe(self.query)

    @property
    def values(self) -> list[str]:
        """The columns that are shown as values."""
        return list(self.question.columns) if self.y == "*" else self.y

    def key(self, board: str) -> str:
        """Return a name that stays as long as the chart does: ids are made of it."""
        return f"{board}/{self.title}"


class Board(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One dashboard."""

    id: str
    title: str
    charts: list[Chart]

    def params(self) -> set[str]:
        """Return the parameters of its questions that no chart of it has fixed."""
        return {
            param.name
            for chart in self.charts
            for param in chart.question.params
            if param.name not in chart.fixed
        }


def load(file: Path = FILE) -> list[Board]:
    """Return the boards; raises ``ConfigInvalid`` where one does not fit its questions."""
    try:
        boards = msgspec.convert(yaml.safe_load(file.read_text("utf-8")), list[Board])
    except (msgspec.ValidationError, yaml.YAMLError) as wrong:
        raise ConfigInvalid(str(file), str(wrong), hint="see the head of the file") from wrong
    for board in boards:
        for chart in board.charts:
            _check(f"{file.name}: {chart.key(board.id)}", chart)
    return boards


def _check(where: str, chart: Chart) -> None:
    question = chart.question
    shown = [*chart.values, *filter(None, (chart.x, chart.by))]
    for kind, used, known in (
        ("column", shown, list(question.columns)),
        ("parameter", list(chart.fixed), [param.name for param in question.params]),
    ):
        for name in used:
            if name not in known:
                raise ConfigInvalid(
                    where,
                    f"{chart.query} has no {kind} {name!r}",
                    hint=f"it has {', '.join(known)}",
                )
    if not chart.x and chart.show not in {"table", "number"}:
        raise ConfigInvalid(where, f"{chart.show} need an x", hint="name a column")


def call(question: Question, values: Mapping[str, str]) -> str:
    """Return the call of a question's view, each parameter an SQL expression or its default."""
    arguments = (
        f"`{param.name}` = {values.get(param.name) or literal(param.type, param.default)}"
        for param in question.params
    )
    return f"{view_of(question)}({', '.join(arguments)})"


def literal(kind: str, value: str | int) -> str:
    """Return a value as a literal of a ClickHouse type."""
    if kind == "Date":
        return f"toDate('{value}')"
    if kind == "String":
        quoted = str(value).replace("\\", "\\\\").replace("'", "\\'")
        return f"'{quoted}'"
    return str(float(value) if kind.startswith("Float") else int(value))


def fixed(chart: Chart) -> dict[str, str]:
    """Return the values that a chart gives, as expressions."""
    kinds = {param.name: param.type for param in chart.question.params}
    return {name: literal(kinds[name], value) for name, value in chart.fixed.items()}


def rows(charts: list[Chart]) -> list[list[Chart]]:
    """Return the charts in rows of at most the board's width."""
    filled: list[list[Chart]] = []
    free_columns = 0
    for chart in charts:
        if chart.width > free_columns:
            filled.append([])
            free_columns = COLUMNS
        filled[-1].append(chart)
        free_columns -= chart.width
    return filled
