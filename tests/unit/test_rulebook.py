from pathlib import Path

import pytest

from schemas.errors import ConfigInvalid
from streams.authoring.load import load_rulebook
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
        ("tags:\n- {id: a, kind: cuont, event: order_paid}", 2,
         "unknown kind cuont", "kinds are count"),
        ("tags:\n- {id: a, kind: import, event: order_paid}", 2,
         "an import tag has no event of its own", ""),
        ("tags:\n- {id: a, kind: value_tier, of: tag.b, bounds: {high: 2, middle: 1}}", 2,
         "unknown tag b", "define it"),
        ("tags:\n- {id: a, kind: value_tier, of: tag.b}", 2,
         "write exactly one of bounds, quantiles", ""),
        ("tags:\n- {id: a, kind: value_tier, of: tag.b, cases: [], quantiles: {}}", 2,
         "a value_tier has no cases", ""),
        ("tags:\n- {id: a, kind: value_tier, of: tag.b, bounds: {high: 1, middle: 2}}", 2,
         "high is not below middle", ""),
        ("tags: [{id: a, kind: count, event: order_paid}]\nbounds:\n  a: {high: 2, middle: 1}", 3,
         "a is no tag with quantiles", "siyu tags bounds"),
        ("tags: [{id: a, kind: count, event: order_paid, layer: busines}]", 1, "layer", ""),
        ("tags:\n- {id: a, event: order_paid}", 2, "kind is missing", "kinds are"),
        ("tags:\n- id: a\n  kind: count\n  evnt: x", 4, "unknown key evnt", "event"),
        ("tags:\n- {id: a, kind: count, event: order_piad}", 2,
         "unknown event order_piad", "order_paid"),
        ("tags:\n- id: a\n  kind: sum\n  event: order_paid\n  value: properties.amonut", 5,
         "no property amonut", "amount"),
        ("tags:\n- {id: a, kind: count, event: order_paid, window: 30}", 2,
         "30 is not a duration", ""),
        ("tags:\n- {id: a, kind: count, event: order_paid}\n- {id: a, kind: count, event: '*'}", 3,
         "the id a is taken", ""),
        ("tags:\n- {id: A-b, kind: count, event: order_paid}", 2, "tag A-b, id", ""),
        ("tags:\n- {id: a, kind: count, event: order_paid, id: b}", 2, "stands here twice", ""),
        (RULE.replace("trigger:", "on:"), 4, "reads the key `on`", "use `trigger:`"),
        (RULE.replace("{event: order_paid}", "{}"), 4,
         "exactly one of event, count, sequence, absence", ""),
        (RULE + "    goal: {event: order_paid}", 6, "within is missing", ""),
        (RULE + "    guard: {quiet: {use: night}}", 6, "unknown quiet hours night", "policies"),
        (RULE + "    guard: {cap: marketing}", 6, "unknown cap marketing", "policies.caps"),
        (RULE + "    exit: [{event: order_paid}]", 6, "nothing waits", ""),
        (RULE + "    audience:\n      all:\n      - {tag.ordres: {gte: 1}}\n"
         "tags: [{id: orders, kind: count, event: order_paid}]", 8, "unknown tag ordres", "orders"),
        (RULE + "    audience:\n      properties.amount: {above: 1}", 7,
         "unknown operator above", "one of"),
        (RULE.replace("template: t", "template: 5"), 5, "5 is not text", "quote it"),
        (RULE.replace("send:", "wait: {for: 3h}, send:"), 5, "exactly one of send, wait", ""),
        (RULE.replace("{event: order_paid}", "{count: {event: '*', n: 2, within: 22:00}}"), 4,
         "1320 is not a duration", ""),
        ("tags: [", 1, "not YAML", ""),
        ("tags: 5", 1, "list", ""),
        ("- 5", 1, "", ""),
        (RULE.replace("order_paid", "2026-13-45"), 4, "month", "quote it"),
    ],
)  # fmt: skip
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
)  # fmt: skip
def test_aliases_cannot_hang_the_reader(text: str) -> None:
    assert "levels" in refused(text).problem
