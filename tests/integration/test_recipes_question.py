"""The recipe "add a question" of CONTRIBUTING, followed in a copy of the product."""

import re
import textwrap
from pathlib import Path
from typing import Final

import pytest

from schemas.settings import Settings
from sinks.clickhouse import query
from sinks.clickhouse.migrate import migrate
from tests.bi_harness import happened, land, table
from tests.recipe_tree import ROOT, Tree

_NAME: Final = "coupons_used"
_SQL: Final = f"sinks/clickhouse/bi/{_NAME}.sql"
_DOC: Final = "docs/queries.md"
_BOARDS: Final = "deploy/dashboards/boards.yaml"
_CHECKS: Final = (
    "tests/unit/test_queries_doc.py",
    "tests/unit/test_plot.py",
    "tests/integration/test_dashboards.py",
)


def blocks() -> dict[str, str]:
    """Return the blocks of the recipe by their language."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    recipe = text.partition("<!-- recipe: question -->")[2].partition("<!-- end of recipe -->")[0]
    found = re.findall(r"^   ```(\w+)\n(.*?)^   ```$", recipe, re.MULTILINE | re.DOTALL)
    return {language: textwrap.dedent(block) for language, block in found}


def last_line_with(tree: Tree, name: str, text: str) -> str:
    lines = (tree.root / name).read_text("utf-8").splitlines()
    return [line for line in lines if text in line][-1]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """The product with the question as the recipe adds it."""
    made, recipe = Tree(tmp_path), blocks()
    made.take(_DOC)
    made.add(_SQL, recipe["sql"])
    made.insert(_DOC, last_line_with(made, _DOC, "| `order_value`"), f"\n{recipe['md'].rstrip()}")
    chart = last_line_with(made, _BOARDS, "query: order_value")
    made.insert(_BOARDS, chart, f"\n  {recipe['yaml'].strip()}")
    assert made.touched == {_SQL, _DOC, _BOARDS}
    return made


def checked(tree: Tree) -> tuple[int, str]:
    """Run what checks questions without asking one."""
    helpers = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*_*.py")]
    for name in (*_CHECKS, *helpers):
        tree.take(name)
    tests = f"{_NAME} or every_question_of_the_boards or each_control"
    ran = tree.python("-m", "pytest", "-q", "-k", tests, *_CHECKS)
    return ran.returncode, ran.stdout


def test_a_question_is_a_file_a_row_and_a_chart(tree: Tree) -> None:
    status, said = checked(tree)
    assert status == 0, said
    listed = tree.python("-m", "streams.commands.cli", "query")
    assert _NAME in listed.stdout.splitlines(), listed.stderr
    drawn = tree.python("-m", "streams.commands.cli", "dashboards", "out")
    assert drawn.returncode == 0, drawn.stderr


@pytest.mark.parametrize("name", [_DOC, _BOARDS])
def test_what_the_recipe_asks_for_is_missed_where_it_is_left_out(tree: Tree, name: str) -> None:
    path = tree.root / name
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if _NAME not in line), "utf-8")
    assert checked(tree)[0] == 1


@pytest.mark.integration
def test_the_question_of_the_recipe_is_answered(
    tree: Tree, clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "FOLDER", (tree.root / _SQL).parent)
    settings = Settings(clickhouse=clickhouse_url)
    migrate(settings)
    used = [("a", 0.0), ("a", 0.01), ("b", 0.02), ("b", 1.0)]
    events = [happened(user, "coupon_used", days) for user, days in used]
    land(settings, "events", [*events, happened("c", "order_paid")])
    rows = table(settings, _NAME, "day coupons users")
    assert rows == [("2026-01-01", 3, 2), ("2026-01-02", 1, 1)]
