from pathlib import Path

import pytest

from schemas.authoring import spell_duration
from schemas.settings import ROOT
from streams.authoring.load import load_rulebook
from streams.commands.tags.explain import canonical
from streams.commands.tags.lint import lint
from streams.commands.tags.words import describe
from streams.core.tags.catalogue import layer_of
from tests.engine_story import book

CLEAN = """
tags:
- {id: n, kind: count, layer: behaviour, event: order_paid}
"""
TESTS = """
cases:
- name: one
  events: [{at: 0s, event: order_paid}]
  check: [{at: 1h, tags: {n: 1}}]
"""


def found(folder: Path, tags: str, tests: str = TESTS) -> list[tuple[str, int | None, str]]:
    (folder / "tags.yaml").write_text(tags, "utf-8")
    (folder / "tags.test.yaml").write_text(tests, "utf-8")
    _, findings = lint(folder)
    return [(one.level, one.line, one.problem) for one in findings]


@pytest.mark.parametrize(
    ("more", "level", "line", "problem"),
    [
        ("- {id: n, kind: cuont, event: x}", "error", 4, "unknown kind cuont"),
        ("- {id: m, kind: count, event: cart_added}", "warning", 4, "has no layer"),
        (
            "- {id: m, kind: count, layer: behaviour, event: order_paid}",
            "warning",
            4,
            "is the same as n",
        ),
        (
            "- {id: t, kind: value_tier, layer: business, of: tag.n, quantiles: {}}",
            "warning",
            4,
            "has quantiles, but no bounds",
        ),
        ("- {id: m, kind: count, layer: behaviour, event: cart_added}", "warning", 4, "no test"),
        ("- {id: t, kind: value_tier, of: tag.m, quantiles: {}}", "error", 4, "unknown tag m"),
    ],
)
def test_lint_tells_what_is_wrong_and_what_is_doubtful_by_its_line(
    tmp_path: Path, more: str, level: str, line: int, problem: str
) -> None:
    assert any(
        (one[0], one[1]) == (level, line) and problem in one[2]
        for one in found(tmp_path, CLEAN + more + "\n")
    )


def test_lint_finds_nothing_in_what_is_clean_and_tells_of_broken_tests(tmp_path: Path) -> None:
    assert found(tmp_path, CLEAN) == []
    ((level, line, problem),) = found(tmp_path, CLEAN, TESTS.replace("check", "chekc"))
    assert (level, line, "chekc" in problem) == ("error", 5, True)
    bounded = CLEAN + "- {id: t, kind: value_tier, layer: business, of: tag.n, quantiles: {}}\n"
    (tmp_path / "bounds.yaml").write_text("bounds: {t: {high: 3, middle: 2}}")
    assert [one[2] for one in found(tmp_path, bounded)] == ["has no test"]


def test_a_tag_knows_who_reads_it_and_its_layer() -> None:
    shop = load_rulebook(ROOT / "deploy/rulebook")
    told = {tag.id: describe(tag, shop) for tag in shop.tags}
    assert told["coupon_affinity"]["read_by"]["tags"] == ["price_sensitivity"]
    assert told["coupon_affinity"]["made_of"] == ["coupons_used", "lifetime_orders"]
    assert told["gmv_30d"]["window"] == "30d"
    read = {tag for one in shop.rules for tag in told if one.id in told[tag]["read_by"]["rules"]}
    assert read
    plain = book(
        "tags: [{id: a, kind: last, event: x, value: context.channel},"
        " {id: b, kind: count, event: x}, {id: c, kind: import}]"
    )
    assert [layer_of(tag) for tag in plain.tags] == ["channel", "behaviour", "business"]


def test_users_and_durations_are_spelled_as_people_write_them() -> None:
    assert [canonical(one) for one in ("me", "user_id:me", "openid:wx:o", "a:b")] == [
        "user_id:me",
        "user_id:me",
        "openid:wx:o",
        "user_id:a:b",
    ]
    assert [spell_duration(one) for one in (60_000, 86_400_000, 604_800_000, 1500)] == [
        "1m",
        "1d",
        "1w",
        "1.5s",
    ]
