import re
from pathlib import Path

import pytest

from schemas.errors import ConfigInvalid
from schemas.settings import ROOT
from streams.authoring.load import load_rulebook
from streams.authoring.rule_tests import find_tests, run
from tests.engine_story import book

SHOP = ROOT / "deploy/rulebook"
BOOK = """
tags: [{id: orders, kind: count, event: order_paid}]
rules:
- {id: r, status: draft, trigger: {event: order_paid}, steps: [{send: {via: [log], template: t}}]}
"""


@pytest.mark.parametrize("file", find_tests(SHOP), ids=lambda file: file.name)
def test_every_shipped_rule_does_what_its_test_says(file: Path) -> None:
    assert [str(failure) for failure in run(load_rulebook(SHOP), file)] == []


def test_every_shipped_rule_has_a_test() -> None:
    tested = {file.name.removesuffix(".test.yaml") for file in find_tests(SHOP)}
    assert tested == {rule.id for rule in load_rulebook(SHOP).rules}


def test_the_examples_of_the_docs_run(tmp_path: Path) -> None:
    blocks = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs/rules.md").read_text("utf-8"), re.DOTALL
    )
    rule, test = (one for one in blocks if one.startswith(("rules:", "rule:")))
    for name in ("tags.yaml", "policies.yaml"):
        (tmp_path / name).write_text((SHOP / name).read_text("utf-8"), "utf-8")
    (tmp_path / "winback.yaml").write_text(rule, "utf-8")
    (tmp_path / "winback.test.yaml").write_text(test, "utf-8")
    assert [str(one) for one in run(load_rulebook(tmp_path), tmp_path / "winback.test.yaml")] == []


CASE = """
rule: r
cases:
- name: a draft under test runs
  events: [{at: 1m, event: order_paid}]
  expect: [EXPECT]
  tags: {orders: 1}
"""


@pytest.mark.parametrize(
    ("expect", "problem"),
    [
        ("{outcome: sent, at: 1m, template: t, reason: passed}", None),
        ("{outcome: holdout}", "outcome is 'sent', not 'holdout'"),
        ("{outcome: sent, at: 2m}", "at 1m, not 2m"),
        ("{outcome: sent, template: u}", "template is 't', not 'u'"),
        ("{outcome: sent, reason: cooldown}", "reason is 'passed', not 'cooldown'"),
        ("{outcome: sent}, {outcome: sent}", "it did not come"),
        ("", "not expected: r sent (passed) at 1m"),
    ],
)
def test_a_test_of_a_rule_fails_where_it_is_wrong(
    tmp_path: Path, expect: str, problem: str | None
) -> None:
    file = tmp_path / "r.test.yaml"
    file.write_text(CASE.replace("EXPECT", expect), "utf-8")
    failures = run(book(BOOK), file)
    if problem is None:
        assert failures == []
    else:
        (failure,) = failures
        assert problem in failure.problem
        assert failure.line == 6


def test_a_wrong_tag_at_the_end_fails(tmp_path: Path) -> None:
    file = tmp_path / "r.test.yaml"
    text = CASE.replace("EXPECT", "{outcome: sent}").replace("orders: 1", "orders: 2")
    file.write_text(text, "utf-8")
    (failure,) = run(book(BOOK), file)
    assert "tag orders is 1, not 2" in str(failure)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("rule: r", "rule: s", "unknown rule s"),
        ("outcome", "outcme", "unknown key outcme"),
        ("at: 1m", "at: 1", "not a duration"),
        ("- name", "- start: noon\n  name", "time with its zone"),
    ],
)
def test_a_test_file_that_is_none_is_refused(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    file = tmp_path / "r.test.yaml"
    file.write_text(CASE.replace("EXPECT", "{outcome: sent}").replace(old, new), "utf-8")
    with pytest.raises(ConfigInvalid, match=problem):
        run(book(BOOK), file)


GIVEN = """
rule: r
cases:
- name: tags, zones, groups and variants are given
  GIVEN
  events:
  - {at: 0s, given: {orders: 2}}
  - {at: 1h, event: order_paid}
  expect: [{when: "2026-03-02T11:00:00+08:00", EXPECT}]
"""


@pytest.mark.parametrize(
    ("given", "expect"),
    [
        ("group: treated", "outcome: sent, tags: {orders: 2}"),
        ("group: holdout", "outcome: holdout, reason: holdout"),
        ('group: "holdout:global"', 'outcome: holdout, reason: "holdout:global"'),
        ("variant: b", "outcome: sent, variant: b"),
        ("group: holdout\n  variant: a", "outcome: holdout, variant: a"),
        ("zone: Asia/Tokyo", "outcome: sent"),
        ("zone: Europe/London", 'outcome: held, reason: "quiet:q"'),
    ],
)
def test_a_case_is_given_its_user(tmp_path: Path, given: str, expect: str) -> None:
    text = """
tags: [{id: orders, kind: count, event: order_paid}]
policies: {holdout: {percent: 20}, quiet: {q: {from: "03:00", to: "05:00"}}}
rules:
- id: r
  trigger: {event: order_paid}
  audience: {tag.orders: 2}
  guard: {holdout: 20, quiet: {use: q}}
  variants: [{id: a, weight: 1}, {id: b, weight: 1}]
  steps: [{send: {via: [log], template: t}}]
"""
    file = tmp_path / "r.test.yaml"
    story = GIVEN.replace("GIVEN", given).replace("EXPECT", expect)
    file.write_text(story, "utf-8")
    failures = [str(one) for one in run(book(text), file)]
    if "held" in expect:
        # At the end of the quiet hours it goes out, which this story does not name.
        assert len(failures) == 1
        assert "not expected: r sent" in failures[0]
    else:
        assert failures == []
