"""`siyu rules lint`: all faults of a rulebook, and the sends that cannot go out, by their lines."""

from pathlib import Path

from schemas.errors import ConfigInvalid
from schemas.plan import Plan
from schemas.settings import Settings
from streams.authoring.channel_checks import check_channels
from streams.authoring.load import TEST_SUFFIX, read_rulebook
from streams.authoring.yaml_source import Located, read_yaml
from streams.commands.findings import Finding, errors_of
from streams.core.engine import Engine
from streams.core.rulebook import Rulebook


def lint(folder: Path, plan: Plan, settings: Settings) -> tuple[Rulebook | None, list[Finding]]:
    """Return the rulebook, if it loads, and all findings, the errors first."""
    rulebook, faults = read_rulebook(folder, plan)
    if rulebook is None:
        return None, errors_of(faults, "rule")
    try:
        Engine(rulebook)
    except ConfigInvalid as wrong:
        return None, errors_of([wrong], "rule")
    findings = channel_findings(rulebook, folder, settings)
    return rulebook, sorted(findings, key=lambda finding: finding.level)


def channel_findings(rulebook: Rulebook, folder: Path, settings: Settings) -> list[Finding]:
    """Return what is wrong or doubtful in the channels of a rulebook that this folder holds."""
    places = _places(folder)
    findings: list[Finding] = []
    for channel_fault in check_channels(rulebook.rules, settings):
        located, position = places[channel_fault.rule]
        fault = channel_fault.fault
        findings.append(
            Finding(
                channel_fault.level,
                str(located.path),
                located.line(("rules", position, *fault.place)),
                "rule",
                channel_fault.rule,
                fault.problem,
                fault.hint,
            )
        )
    return findings


def refuse_unsendable(rulebook: Rulebook, folder: Path, settings: Settings) -> None:
    """Raise ``ConfigInvalid`` for the first error of a rulebook's channels, with their number."""
    findings = channel_findings(rulebook, folder, settings)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        first, more = errors[0], len(errors) - 1
        problem = f"rule {first.id}: {first.problem}"
        problem += f", and {more} more: `siyu rules lint`" if more else ""
        raise ConfigInvalid(first.file, problem, hint=first.hint, line=first.line)


def _places(folder: Path) -> dict[str, tuple[Located, int]]:
    """Return the file of each rule, and its position there, by the rule's id."""
    files = (
        [folder] if folder.is_file() else sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")])
    )
    places: dict[str, tuple[Located, int]] = {}
    for file in files:
        if file.name.endswith(TEST_SUFFIX):
            continue
        located = read_yaml(file)
        data = located.data if isinstance(located.data, dict) else {}
        for position, rule in enumerate(data.get("rules") or []):
            places[rule["id"]] = (located, position)
    return places
