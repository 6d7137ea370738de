"""The recipes of CONTRIBUTING, followed in a copy of the tree: so few files, and all works."""

import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from schemas.settings import ROOT

PRODUCT: Final = ("streams", "schemas", "sinks", "deploy")
_NO_CACHES = shutil.ignore_patterns("__pycache__")
KINDS: Final = "streams/core/tags/kinds"
CATALOGUE: Final = "streams/core/tags/catalogue.py"
TAG_SQL: Final = "sinks/clickhouse/tag_sql.py"

CLASS: Final = '''\
"""How far apart values are: the greatest less the least."""
# ruff: noqa: D102, ARG002 - the methods and their arguments are those of the protocol

from typing import ClassVar

from streams.core.state.cells import Cell
from streams.core.tags.kind import Lasting
from streams.core.tags.values import Value, scaled, unscaled


class Spread(Lasting):
    """``[code, least, greatest]``: neither order nor grouping nor repeats matter."""

    code: ClassVar[int] = ord("w")
    empty: ClassVar[Value] = None

    def new(self) -> Cell:
        return [self.code, None, None]

    def accept(self, raw: object) -> object | None:
        return scaled(raw)

    def fold(self, cell: Cell, at_ms: int, clock_ms: int, value: int) -> tuple[Value, Value]:
        before = self.read(cell, at_ms)
        cell[1] = value if cell[1] is None else min(cell[1], value)
        cell[2] = value if cell[2] is None else max(cell[2], value)
        return before, self.read(cell, at_ms)

    def read(self, cell: Cell, at_ms: int) -> Value:
        return None if cell[1] is None else unscaled(cell[2] - cell[1])

    def merge(self, one: Cell, two: Cell, clock_ms: int) -> Cell:
        if two[1] is not None:
            self.fold(one, clock_ms, clock_ms, two[1])
            self.fold(one, clock_ms, clock_ms, two[2])
        return one
'''
SPEC: Final = '''\
"""`spread`: how far apart the values of events are."""

from typing import Final, Literal

from schemas.authoring import EventPath
from schemas.tags import EventTag
from streams.core.tags.kind_spec import NUMBER, KindSpec, always, exact
from streams.core.tags.kinds.spread import Spread


class SpreadTag(EventTag):
    """The greatest ``value`` less the least; missing where there is none."""

    kind: Literal["spread"]
    value: EventPath


SPEC: Final[KindSpec[SpreadTag, Spread]] = KindSpec(
    model=SpreadTag,
    holds=always(NUMBER),
    means=lambda tag: f"the greatest {tag.value} less the least",
    error=exact,
    state_bytes=(13, 20),
    examples=("- {id: spread, kind: spread, event: order_paid, value: properties.amount}",),
    make=lambda _tag: Spread(),
    idempotent=True,
)
'''
TWIN: Final = """\
def _spread(tag: _OfEvents, _at_ms: int) -> str:
    base = f"SELECT user, t, {_AMOUNT} AS a FROM ({_values(tag)}) WHERE v IS NOT NULL"
    return _grouped(base, "max(a) - min(a)")


"""
BOOK: Final = """\
tags:
- {id: spread, kind: spread, layer: behaviour, event: order_paid, value: properties.amount}
rules:
- id: erratic
  trigger: {event: order_paid}
  audience: {tag.spread: {gte: 100}}
  steps: [{send: {via: [log], template: t}}]
"""
BOOK_TEST: Final = """\
cases:
- name: the greatest less the least
  events:
  - {at: 0s, event: order_paid, properties: {order_id: a, amount: 300}}
  - {at: 1h, event: order_paid, properties: {order_id: b, amount: 20}}
  check: [{at: 2h, tags: {spread: 280}}]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a contributor works in."""
    folder = tmp_path / "tree"
    for name in (*PRODUCT, "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=_NO_CACHES)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def insert(path: Path, before: str, text: str) -> None:
    """Write a text before the first place where another stands."""
    old = path.read_text("utf-8")
    assert before in old, f"{path.name} has no {before!r}: the recipe is out of date"
    path.write_text(old.replace(before, text + before, 1), "utf-8")


def run(tree: Path, *argv: str) -> str:
    """Run Python in the tree, as a contributor does; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-P", *argv],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def changed(tree: Path) -> set[str]:
    """Return the files of the product that are new or differ."""
    files = {
        path.relative_to(tree).as_posix()
        for name in PRODUCT
        for path in (tree / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    _, differ, new = filecmp.cmpfiles(ROOT, tree, files, shallow=False)
    return {*differ, *new}


def test_a_toy_kind_of_tag_is_four_files_and_passes_the_laws_of_all_kinds(
    tree: Path, tmp_path: Path
) -> None:
    (tree / KINDS / "spread.py").write_text(CLASS, "utf-8")
    (tree / KINDS / "spread_spec.py").write_text(SPEC, "utf-8")
    insert(tree / CATALOGUE, "    stage_spec,\n", "    spread_spec,\n")
    insert(tree / CATALOGUE, "    churn_risk_spec.SPEC,\n", "    spread_spec.SPEC,\n")
    insert(tree / TAG_SQL, "TWINS: Final", TWIN)
    insert(tree / TAG_SQL, '    "import": Twin(', '    "spread": Twin(_spread, _amount),\n')
    docs = tree / "docs/tags.md"
    insert(docs, "| `value_tier` |", "| `spread` | greatest less least | | missing |\n")
    insert(docs, "| `expr`, `value_tier` |", "| `spread` | exact | two numbers |\n")
    assert changed(tree) == {
        f"{KINDS}/spread.py",
        f"{KINDS}/spread_spec.py",
        CATALOGUE,
        TAG_SQL,
    }

    run(
        tree,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/laws/test_every_kind.py",
        "-k",
        "spread or no_kind_takes or sql_and_docs",
    )
    book = tmp_path / "book"
    book.mkdir()
    (book / "shop.yaml").write_text(BOOK, "utf-8")
    (book / "tags.test.yaml").write_text(BOOK_TEST, "utf-8")

    def siyu(*argv: str) -> dict[str, Any]:
        command = ("-m", "streams.commands.cli", *argv, "--rulebook", str(book), "--json")
        told: dict[str, Any] = json.loads(run(tree, *command))
        return told

    assert siyu("rules", "lint")["ok"]
    assert siyu("tags", "lint", "--strict")["findings"] == []
    assert siyu("tags", "test")["cases"] == 1
    assert siyu("tags", "explain", "spread")["means"].startswith("the greatest properties.amount")
