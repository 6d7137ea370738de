from pathlib import Path

import pytest

from schemas.errors import ConfigInvalid
from streams.authoring.load import load_rulebook, read_rulebook
from tests.engine_story import book

RULE = """
rules:
  - id: r
    trigger: {event: order_paid}
    steps: [{send: {via: [log], template: t}}]
"""

# Each line holds ten of the line before.
BOMB = "a: &a [x]\n" + "\n".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdef", "bcdefg", strict=True)
)


def refused(text: str) -> ConfigInvalid:
    with pytest.raises(ConfigInvalid) as error:
        book(text)
    return error.value


@pytest.mark.parametrize(
    ("text", "line", "problem", "hint"),
    [
        (
            "tags:\n- {id: a, kind: cuont, event: order_paid}",
            2,
            "unknown kind cuont",
            "kinds are count",
        ),
        (
            "tags:\n- {id: a, kind: import, event: order_paid}",
            2,
            "an import tag has no event of its own",
            "",
        ),
        (
            "tags:\n- {id: a, kind: value_tier, of: tag.b, bounds: {high: 2, middle: 1}}",
            2,
            "unknown tag b",
            "define it",
        ),
        (
            "tags:\n- {id: a, kind: value_tier, of: tag.b}",
            2,
            "write exactly one of bounds, quantiles",
            "",
        ),
        (
            "tags:\n- {id: a, kind: value_tier, of: tag.b, cases: [], quantiles: {}}",
            2,
            "a value_tier has no cases",
            "",
        ),
        (
            "tags:\n- {id: a, kind: value_tier, of: tag.b, bounds: {high: 1, middle: 2}}",
            2,
            "high is not below middle",
            "",
        ),
        (
            "tags: [{id: a, kind: count, event: order_paid}]\nbounds:\n  a: {high: 2, middle: 1}",
            3,
            "a is no tag with quantiles",
            "siyu tags bounds",
        ),
        ("tags: [{id: a, kind: count, event: order_paid, layer: busines}]", 1, "layer", ""),
        ("tags:\n- {id: a, event: order_paid}", 2, "kind is missing", "kinds are"),
        ("tags:\n- id: a\n  kind: count\n  evnt: x", 4, "unknown key evnt", "event"),
        (
            "tags:\n- {id: a, kind: count, event: order_piad}",
            2,
            "unknown event order_piad",
            "order_paid",
        ),
        (
            "tags:\n- id: a\n  kind: sum\n  event: order_paid\n  value: properties.amonut",
            5,
            "no property amonut",
            "amount",
        ),
        (
            "tags:\n- {id: a, kind: count, event: order_paid, window: 30}",
            2,
            "30 is not a duration",
            "",
        ),
        (
            "tags:\n- {id: a, kind: count, event: order_paid}\n- {id: a, kind: count, event: '*'}",
            3,
            "the id a is taken",
            "",
        ),
        ("tags:\n- {id: A-b, kind: count, event: order_paid}", 2, "tag A-b, id", ""),
        ("tags:\n- {id: a, kind: count, event: order_paid, id: b}", 2, "stands here twice", ""),
        (RULE.replace("trigger:", "on:"), 4, "reads the key `on`", "use `trigger:`"),
        (
            RULE.replace("{event: order_paid}", "{}"),
            4,
            "exactly one of event, count, sequence, absence",
            "",
        ),
        (RULE + "    goal: {event: order_paid}", 6, "within is missing", ""),
        (RULE + "    guard: {quiet: {use: night}}", 6, "unknown quiet hours night", "policies"),
        (RULE + "    guard: {cap: marketing}", 6, "unknown cap marketing", "policies.caps"),
        (RULE + "    exit: [{event: order_paid}]", 6, "nothing waits", ""),
        (
            RULE + "    audience:\n      all:\n      - {tag.ordres: {gte: 1}}\n"
            "tags: [{id: orders, kind: count, event: order_paid}]",
            8,
            "unknown tag ordres",
            "orders",
        ),
        (
            RULE + "    audience:\n      properties.amount: {above: 1}",
            7,
            "unknown operator above",
            "one of",
        ),
        (RULE.replace("template: t", "template: 5"), 5, "5 is not text", "quote it"),
        (RULE.replace("send:", "wait: {for: 3h}, send:"), 5, "exactly one of send, wait", ""),
        (
            RULE.replace("{event: order_paid}", "{count: {event: '*', n: 2, within: 22:00}}"),
            4,
            "1320 is not a duration",
            "",
        ),
        ("tags: [", 1, "not YAML", ""),
        ("tags: 5", 1, "list", ""),
        ("- 5", 1, "", ""),
        (RULE.replace("order_paid", "2026-13-45"), 4, "month", "quote it"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(
    text: str, line: int, problem: str, hint: str
) -> None:
    error = refused(text)
    assert (error.line, problem in error.problem, hint in error.hint) == (line, True, True), error


def test_an_error_names_the_rule_and_the_path_in_it() -> None:
    text = RULE.replace("{event: order_paid}", "{count: {event: order_paid, n: 0, within: 1h}}")
    assert refused(text).problem.startswith("rule r, trigger.count.n: ")


def test_own_events_and_properties_are_declared() -> None:
    tags = (
        "tags:\n- {id: a, kind: sum, event: cart_added, value: properties.points}\n"
        "- {id: b, kind: count, event: cart_addd}\n"
    )
    assert "points" in refused(tags).problem
    assert len(book(tags + "declares: {cart_added: [points], cart_addd: []}").tags) == 2


def test_a_version_is_that_of_the_definition_alone() -> None:
    version = book(RULE).versions["r"]
    aside = RULE + "    status: paused\n    description: another text\n    guard: {holdout: 0}"
    assert book(aside).versions["r"] == version
    assert book(RULE.replace("template: t", "template: u")).versions["r"] != version
    spelled = RULE + "    reentry: {cooldown: 60m}"
    assert book(spelled).versions == book(spelled.replace("60m", "1h")).versions


def test_a_folder_is_read_in_order_and_tests_of_rules_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(RULE, "utf-8")
    (tmp_path / "a.yml").write_text(RULE.replace("id: r", "id: q"), "utf-8")
    (tmp_path / "b.test.yaml").write_text("nonsense: true", "utf-8")
    assert [rule.id for rule in load_rulebook(tmp_path).rules] == ["q", "r"]


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigInvalid, match="no rulebook"):
            load_rulebook(path)


def test_one_id_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(RULE, "utf-8")
    with pytest.raises(ConfigInvalid, match=r"b.yaml:3: the id r is taken in a.yaml"):
        load_rulebook(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["tags: &t [*t]", BOMB],
    ids=["a list in itself", "a list of lists of lists"],
)
def test_aliases_cannot_hang_the_reader(text: str) -> None:
    assert "levels" in refused(text).problem


def test_all_faults_of_a_rulebook_are_found_in_one_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "tags:\n"
        "- {id: a, kind: cuont, event: order_paid}\n"
        "- {id: b, kind: sum, event: order_piad, value: properties.amount}\n"
        "- {id: c, kind: count, event: order_paid, where: {properties.amonut: 1, property.x: 2}}\n"
        "- {id: d, kind: count, event: order_paid, where: {properties.amonut: {gte: 1, lt: x}}}\n",
        "utf-8",
    )
    rule = RULE.lstrip() + "    guard: {cap: none, quiet: {use: nigth}}\n"
    rule += "    audience: {tag.a: 1, tag.nowhere: {abov: 2}, tag.nowhere2: {gte: 1}}\n"
    second = "  - {id: s, trigger: {event: order_paid, were: {}}, step: []}\n"
    (tmp_path / "b.yaml").write_text(rule + second, "utf-8")
    rulebook, faults = read_rulebook(tmp_path)
    assert rulebook is None
    told = [((Path(fault.where).name, fault.line), fault.problem) for fault in faults]
    expected = [
        ("a.yaml", 2, "unknown kind cuont"),
        ("a.yaml", 3, "unknown event order_piad"),
        ("a.yaml", 4, "property.x is not a path"),
        ("a.yaml", 5, "no property amonut"),
        ("b.yaml", 6, "unknown operator abov"),
        ("b.yaml", 7, "unknown key were"),
        ("b.yaml", 7, "unknown key step"),
    ]
    for file, line, problem in expected:
        assert any((file, line) == where and problem in text for where, text in told), problem
    # What a broken part hides is said once that part is mended: no fault is made up.
    assert not any("unknown tag a" in problem for _, problem in told)


def test_a_wrong_item_hides_no_fault_of_another_and_makes_up_none(tmp_path: Path) -> None:
    text = "tags:\n- {id: a, kind: cuont, event: order_paid}\n" + RULE.lstrip()
    (tmp_path / "a.yaml").write_text(text + "    audience: {tag.a: 1, tag.b: 2}\n", "utf-8")
    _, faults = read_rulebook(tmp_path)
    assert [(fault.line, fault.problem) for fault in faults] == [
        (2, "tag a, kind: unknown kind cuont"),
        (7, "rule r: unknown tag b"),
    ]
    text += "    audience: {tag.b: 2}\n    guard: {cap: c}\n"
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    (tmp_path / "b.yaml").write_text("policies: {tz: Nowhere, caps: {c: []}}\n", "utf-8")
    # Those policies may have the cap; the unknown tag is a fault all the same.
    _, faults = read_rulebook(tmp_path)
    assert [fault.line for fault in faults] == [2, 7, 1, 1]
    (tmp_path / "b.yaml").write_text("tagz: [{id: b, kind: import}]\n", "utf-8")
    # A misspelt key may hold whatever is missing.
    _, faults = read_rulebook(tmp_path)
    assert [fault.problem for fault in faults] == [
        "tag a, kind: unknown kind cuont",
        "tagz: unknown key tagz",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('tags: [{id: "a\x07b", kind: import}]', "U+0007"),
        ("tags: " + "[" * 3000, "levels"),
        ("tags: [{id: !!bool foo, kind: import}]", "no such value"),
        ('tags: [{id: !!int "", kind: import}]', "no such value"),
    ],
    ids=["a control character", "3000 levels", "no bool", "no integer"],
)
def test_odd_yaml_is_a_fault_of_its_file_and_hides_no_other(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    (tmp_path / "b.yaml").write_text(RULE + "    exit: [{event: order_paid}]", "utf-8")
    _, faults = read_rulebook(tmp_path)
    assert [Path(fault.where).name for fault in faults] == ["a.yaml", "b.yaml"]
    assert problem in faults[0].problem


def test_a_version_moves_with_the_spelling_of_a_condition_as_it_always_did() -> None:
    plain = RULE + "    audience: {properties.amount: 3}"
    spelled = RULE + "    audience: {properties.amount: {eq: 3}}"
    assert book(plain).versions["r"] == "f22f9334"
    assert book(spelled).versions["r"] != book(plain).versions["r"]
