import re
from pathlib import Path

import pytest

from schemas.errors import ConfigInvalid
from schemas.settings import ROOT
from streams.authoring.load import load_rulebook
from streams.authoring.tag_tests import find_tag_tests, read_tests, run_tag_tests
from tests.engine_story import book

SHOP = ROOT / "deploy/rulebook"
BOOK = "tags: [{id: hot, kind: flag, event: product_viewed, ttl: 2h}]"
CASE = """
cases:
- name: a flag ends by itself
  events: [{at: 1h, event: product_viewed}]
  check:
  - {at: 2h, tags: {hot: true}}
  - {at: 3h, tags: {hot: false}}
  changes: {hot: [{at: 1h, to: true}, {at: 3h, to: false}]}
"""


@pytest.mark.parametrize("file", find_tag_tests(SHOP), ids=lambda file: file.name)
def test_every_shipped_tag_does_what_its_test_says(file: Path) -> None:
    assert [str(failure) for failure in run_tag_tests(load_rulebook(SHOP), file)] == []


def test_every_shipped_tag_has_a_test_and_a_layer() -> None:
    tested: set[str] = set()
    for file in find_tag_tests(SHOP):
        for case in read_tests(file).cases:
            tested |= case.changes.keys() | {tag for check in case.check for tag in check.tags}
    tags = load_rulebook(SHOP).tags
    assert tested == {tag.id for tag in tags}
    assert [tag.id for tag in tags if tag.layer is None] == []
    assert len(tags) >= 20
    assert {tag.layer for tag in tags} == {"channel", "behaviour", "business"}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", None),
        ("at: 2h, tags: {hot: true}", "at: 2h, tags: {hot: false}", "6: .*hot is True, not False"),
        ("at: 3h, tags: {hot: false}", "at: 3h, tags: {hot: null}", "7: .*hot is False, not None"),
        ("{at: 3h, to: false}", "{at: 4h, to: false}", "8: .*hot went 1h: True, 3h: False"),
        (", {at: 3h, to: false}", "", "8: .*hot went 1h: True, 3h: False"),
    ],
)
def test_a_test_of_a_tag_fails_where_it_is_wrong(
    tmp_path: Path, old: str, new: str, problem: str | None
) -> None:
    file = tmp_path / "tags.test.yaml"
    file.write_text(CASE.replace(old, new) if old else CASE, "utf-8")
    failures = [str(failure) for failure in run_tag_tests(book(BOOK), file)]
    if problem is None:
        assert failures == []
    else:
        (failure,) = failures
        assert re.search(problem, failure), failure


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("hot: true", "hott: true", "6: unknown tag hott .*did you mean hot"),
        ("check", "chekc", "unknown key chekc"),
        ("at: 2h", "at: 2", "not a duration"),
    ],
)
def test_a_file_that_tests_no_tags_is_refused(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    file = tmp_path / "tags.test.yaml"
    file.write_text(CASE.replace(old, new), "utf-8")
    with pytest.raises(ConfigInvalid, match=problem):
        run_tag_tests(book(BOOK), file)
