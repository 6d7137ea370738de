"""What `siyu rules lint` and `push` ask beyond loading: whether the sends can go out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from streams.authoring.channel_checks import check_channels
from streams.authoring.load import TEST_SUFFIX
from streams.authoring.yaml_source import Located, read_yaml
from streams.core.rulebook import Rulebook


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault (``error``) or doubt (``warning``) of a rule, and what to do about it."""

    level: Literal["error", "warning"]
    file: str
    line: int | None
    rule: str
    problem: str
    hint: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: {self.level}: rule {self.rule}"
        return f"{where}: {self.problem} ({self.hint})"

    def told(self) -> dict[str, object]:
        """Return the finding as JSON has it."""
        return asdict(self)


def findings(rulebook: Rulebook, folder: Path, settings: Settings) -> list[Finding]:
    """Return what is wrong or doubtful in a rulebook that was loaded from a folder or file."""
    places = _places(folder)
    found: list[Finding] = []
    for channel_fault in check_channels(rulebook.rules, settings):
        located, position = places[channel_fault.rule]
        fault = channel_fault.fault
        line = located.line(("rules", position, *fault.place))
        found.append(Finding(channel_fault.level, str(located.path), line, channel_fault.rule,
                             fault.problem, fault.hint))  # fmt: skip
    return found


def refuse_unsendable(rulebook: Rulebook, folder: Path, settings: Settings) -> None:
    """Raise ``ConfigInvalid`` for the first error of a rulebook's channels, with their number."""
    found = findings(rulebook, folder, settings)
    errors = [finding for finding in found if finding.level == "error"]
    if errors:
        more = f", and {len(errors) - 1} more: `siyu rules lint`" if len(errors) > 1 else ""
        first = errors[0]
        raise ConfigInvalid(first.file, f"rule {first.rule}: {first.problem}{more}",
                            hint=first.hint, line=first.line)  # fmt: skip


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
