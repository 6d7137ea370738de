"""What a lint finds: faults and doubts, by file and line."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from schemas.errors import ConfigInvalid


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault (``error``) or doubt (``warning``), and what to do about it.

    It is of the ``part`` ("tag" or "rule") with this ``id``; without one the problem names it.
    """

    level: Literal["error", "warning"]
    file: str
    line: int | None
    part: Literal["tag", "rule"]
    id: str
    problem: str
    hint: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = f"{self.part} {self.id}: " if self.id else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}: {self.level}: {subject}{self.problem}{hint}"

    def json(self) -> dict[str, object]:
        """Return the finding as JSON has it."""
        return {
            "level": self.level,
            "file": self.file,
            "line": self.line,
            self.part: self.id,
            "problem": self.problem,
            "hint": self.hint,
        }


def errors_of(faults: Iterable[ConfigInvalid], part: Literal["tag", "rule"]) -> list[Finding]:
    """Return faults of files as findings."""
    return [
        Finding("error", fault.where, fault.line, part, "", fault.problem, fault.hint)
        for fault in faults
    ]
