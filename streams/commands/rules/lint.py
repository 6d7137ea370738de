"""`siyu rules lint`: all faults of a rulebook, and the sends that cannot go out, by their lines."""

from pathlib import Path

from schemas.errors import ConfigInvalid
from schemas.plan import Plan
from schemas.settings import Settings
from streams.authoring.channel_checks import check_channels
from streams.authoring.load import read_rulebook, readable_rules
from streams.commands.findings import Finding, errors_of
from streams.core.engine import Engine
from streams.core.rulebook import Rulebook


def lint(folder: Path, plan: Plan, settings: Settings) -> tuple[Rulebook | None, list[Finding]]:
    """Return the rulebook, if it loads, and all findings, the errors first, by file and line."""
    rulebook, faults = read_rulebook(folder, plan)
    if rulebook is not None:
        try:
            Engine(rulebook)
        except ConfigInvalid as wrong:
            rulebook, faults = None, [wrong]
    findings = errors_of(faults, "rule")
    known = {(finding.file, finding.line, finding.problem) for finding in findings}
    for finding in channel_findings(folder, settings):
        if (finding.file, finding.line, f"rule {finding.id}: {finding.problem}") not in known:
            findings.append(finding)
    findings.sort(key=lambda finding: (finding.level, finding.file, finding.line or 0))
    return rulebook, findings


def channel_findings(folder: Path, settings: Settings) -> list[Finding]:
    """Return what is wrong or doubtful in the channels of all rules that can be read."""
    placed = list(readable_rules(folder))
    places = {rule.id: (located, place) for located, place, rule in placed}
    findings: list[Finding] = []
    for channel_fault in check_channels([rule for _, _, rule in placed], settings):
        located, place = places[channel_fault.rule]
        fault = channel_fault.fault.within(place)
        findings.append(
            Finding(
                channel_fault.level,
                str(located.path),
                located.line(fault.place),
                "rule",
                channel_fault.rule,
                fault.problem,
                fault.hint,
            )
        )
    return findings


def refuse_unsendable(folder: Path, settings: Settings) -> None:
    """Raise ``ConfigInvalid`` for the first error of a rulebook's channels, with their number."""
    findings = channel_findings(folder, settings)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        first, more = errors[0], len(errors) - 1
        problem = f"rule {first.id}: {first.problem}"
        problem += f", and {more} more: `siyu rules lint`" if more else ""
        raise ConfigInvalid(first.file, problem, hint=first.hint, line=first.line)
