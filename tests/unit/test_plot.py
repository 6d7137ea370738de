import sys
from pathlib import Path

import pytest

from schemas.errors import ConfigInvalid, PartMissing
from sinks.clickhouse.plot import Plot, draw, read_plot
from sinks.clickhouse.query import describe, names, plot_answer

PNG = b"\x89PNG"
ANSWER = {
    "columns": ["day", "source", "users", "share"],
    "rows": [
        ["2026-01-01", "app", 3, 0.5],
        ["2026-01-01", "网页", 4, None],
        ["2026-01-02", "app", 5, 0.25],
    ],
}


@pytest.mark.parametrize("name", names())
def test_a_question_draws_columns_that_it_has(name: str) -> None:
    question = describe(name)
    if question.plot is not None:
        drawn = {question.plot.x, *question.plot.y, question.plot.by} - {""}
        assert drawn <= question.columns.keys()


def test_most_questions_can_be_drawn() -> None:
    assert sum(describe(name).plot is not None for name in names()) > 20


@pytest.mark.parametrize(
    "text", ["", "pie a b", "line a", "bar a b of c", "heat a b", "line a b by"]
)
def test_a_line_that_asks_for_no_plot_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"begin with|expected"):
        read_plot(text)


@pytest.mark.parametrize(
    "text", ["line day users,share", "bar day users by source", "heat source day users"]
)
@pytest.mark.parametrize("rows", [ANSWER["rows"], []])
def test_every_kind_is_drawn_also_of_nothing(text: str, rows: object, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "x.png"
    draw(file, "活跃", read_plot(text), ANSWER | {"rows": rows})
    assert file.read_bytes().startswith(PNG)


def test_a_file_that_cannot_be_is_told(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("no/such/folder.png", "x.docx"):
        with pytest.raises(ConfigInvalid, match="--plot"):
            draw(tmp_path / name, "t", Plot("bar", "day", ("users",)), ANSWER)


def test_without_matplotlib_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PartMissing, match=r"pip install 'siyu\[plot\]'"):
        plot_answer(tmp_path / "x.png", "funnel", {"columns": [], "rows": []})
