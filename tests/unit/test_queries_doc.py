import re
from pathlib import Path

import pytest

from sinks.clickhouse.query import describe, names

DOC = Path(__file__).parents[2] / "docs/queries.md"


@pytest.mark.parametrize("name", names())
def test_the_table_of_questions_says_what_their_heads_say(name: str) -> None:
    (row,) = (
        line for line in DOC.read_text("utf-8").splitlines() if line.startswith(f"| `{name}`")
    )
    question = describe(name)
    _, _, answers, params, example, _ = (cell.strip() for cell in row.split("|"))
    assert answers == question.answers
    assert params == ", ".join(f"`{param.name}`" for param in question.params)
    assert example == f"`siyu query {question.example}`"


@pytest.mark.parametrize("name", names())
def test_a_query_reads_each_of_its_parameters_and_no_others(name: str) -> None:
    question = describe(name)
    used = set(re.findall(r"\{(\w+):(\w+)\}", question.sql))
    assert used == {(param.name, param.type) for param in question.params}
