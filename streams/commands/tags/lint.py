"""`siyu tags lint`: what is wrong with the tags, and what is merely doubtful, by file and line."""

from pathlib import Path

from schemas.errors import ConfigInvalid
from schemas.plan import Plan
from streams.authoring.load import read_rulebook, readable_tags
from streams.authoring.tag_tests import find_tag_tests, read_tests
from streams.commands.findings import Finding, errors_of
from streams.core.engine import Engine
from streams.core.rulebook import Rulebook, tag_version
from streams.core.tags.catalogue import layer_of
from streams.core.tags.kinds.value_tier_spec import ValueTierTag


def lint(folder: Path, plan: Plan | None = None) -> tuple[Rulebook | None, list[Finding]]:
    """Return the rulebook, if it loads, and all findings."""
    rulebook, faults = read_rulebook(folder, plan)
    if rulebook is None:
        return None, errors_of(faults, "tag")
    try:
        Engine(rulebook)
        tested = _tested(folder)
    except ConfigInvalid as wrong:
        return None, errors_of([wrong], "tag")
    places = {
        tag.id: (str(located.path), located.line(place))
        for located, place, tag in readable_tags(folder)
    }
    findings: list[Finding] = []
    seen: dict[str, str] = {}

    def doubt(tag_id: str, problem: str, hint: str) -> None:
        findings.append(Finding("warning", *places[tag_id], "tag", tag_id, problem, hint))

    for tag in rulebook.tags:
        twin = tag_version(tag.model_copy(update={"id": "x"}))
        if twin in seen and tag.kind != "import":
            doubt(tag.id, f"is the same as {seen[twin]}", "keep one: each costs state and time")
        seen.setdefault(twin, tag.id)
        if tag.layer is None:
            doubt(tag.id, "has no layer", f"write layer: {layer_of(tag)}, or another")
        if tag.id not in tested:
            doubt(tag.id, "has no test", "add a case to tags.test.yaml")
        if isinstance(tag, ValueTierTag) and not tag.cases:
            doubt(tag.id, "has quantiles, but no bounds: it is missing", "run `siyu tags bounds`")
    return rulebook, findings


def _tested(folder: Path) -> set[str]:
    tested: set[str] = set()
    for file in find_tag_tests(folder):
        for case in read_tests(file).cases:
            tested |= case.changes.keys() | {tag for check in case.check for tag in check.tags}
    return tested
