"""What a replay decided, counted: by rule, outcome and reason, with samples; mergeable."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from schemas.touches import Decision

SAMPLES: Final = 2


def fires(decision: Decision) -> bool:
    """Say whether a decision is a touch, or would be one if the rule were not in shadow."""
    return decision.outcome == "sent" or decision.reason == "shadow"


@dataclass(slots=True)
class RuleTally:
    """One rule: decisions by (outcome, reason), users it fires for and others, samples."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    fires: int = 0
    reach: int = 0
    in_holdout: int = 0
    converted: int = 0
    converted_in_holdout: int = 0
    samples: dict[tuple[str, str], list[Decision]] = field(default_factory=dict)

    def merge(self, other: "RuleTally") -> None:
        """Take in the same rule's tally of other users."""
        self.outcomes.update(other.outcomes)
        self.fires += other.fires
        self.reach += other.reach
        self.in_holdout += other.in_holdout
        self.converted += other.converted
        self.converted_in_holdout += other.converted_in_holdout
        for key, samples in other.samples.items():
            self.samples.setdefault(key, []).extend(samples)

    def as_json(self, samples: int = SAMPLES) -> dict[str, Any]:
        """Return the part of a report."""
        suppressed: Counter[str] = Counter()
        outcomes: Counter[str] = Counter()
        for (outcome, reason), n in self.outcomes.items():
            outcomes[outcome] += n
            if outcome in ("suppressed", "held"):
                suppressed[reason] += n
        return {
            "would_fire": self.fires,
            "reach": self.reach,
            "holdout": self.in_holdout,
            "outcomes": dict(outcomes.most_common()),
            "suppressed_by": dict(suppressed.most_common()),
            "conversions": {"reached": self.converted, "holdout": self.converted_in_holdout},
            "samples": [
                as_sample(decision)
                for key in sorted(self.samples)
                for decision in sorted(self.samples[key], key=_order)[:samples]
            ],
        }


class Said(NamedTuple):
    """What was decided, and when it was said: at the arrival of an event, or by a timer."""

    rule: str
    outcome: str
    reason: str
    at_ms: int


@dataclass(slots=True)
class Tally:
    """All rules; ``said`` is each decision by id, where they are wanted."""

    rules: dict[str, RuleTally] = field(default_factory=dict)
    users: int = 0
    events: int = 0
    unfoldable: int = 0
    problems: list[str] = field(default_factory=list)
    said: dict[str, Said] | None = None

    def merge(self, other: Self) -> None:
        """Take in the tally of other users."""
        for rule, tally in other.rules.items():
            self.rules.setdefault(rule, RuleTally()).merge(tally)
        self.users += other.users
        self.events += other.events
        self.unfoldable += other.unfoldable
        self.problems = (self.problems + other.problems)[:SAMPLES]
        if self.said is not None and other.said is not None:
            self.said |= other.said

    def leave_out(self, problems: Sequence[str]) -> None:
        """Count events that the engine could not fold."""
        self.unfoldable += len(problems)
        self.problems = [*self.problems, *problems][:SAMPLES]

    def add_user(self, said: Sequence[tuple[int, Decision]]) -> None:
        """Count the decisions on one user, in order."""
        by_rule: dict[str, list[Decision]] = {}
        for at_ms, decision in said:
            by_rule.setdefault(decision.rule, []).append(decision)
            if self.said is not None:
                self.said[decision.decision_id] = Said(
                    decision.rule, decision.outcome, decision.reason, at_ms
                )
        for rule, decisions in by_rule.items():
            self._add_rule(self.rules.setdefault(rule, RuleTally()), decisions)

    def _add_rule(self, tally: RuleTally, decisions: list[Decision]) -> None:
        fired = in_holdout = converted = False
        for decision in decisions:
            key = (decision.outcome, decision.reason)
            tally.outcomes[key] += 1
            samples = tally.samples.setdefault(key, [])
            if len(samples) < SAMPLES:
                samples.append(decision)
            if fires(decision):
                tally.fires += 1
                fired = True
            in_holdout = in_holdout or decision.outcome == "holdout"
            converted = converted or decision.outcome == "converted"
        tally.reach += fired
        tally.in_holdout += in_holdout
        tally.converted += converted and not in_holdout
        tally.converted_in_holdout += converted and in_holdout


def as_sample(decision: Decision) -> dict[str, Any]:
    """Return a decision as a report shows it."""
    return {
        "decision_id": decision.decision_id,
        "user": decision.user,
        "rule": decision.rule,
        "rule_version": decision.rule_version,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "time_ms": decision.time_ms,
        "trigger": decision.trigger,
        "variant": decision.variant,
        "tags": decision.tags,
        "trace": decision.trace,
    }


def _order(decision: Decision) -> tuple[int, str]:
    return decision.time_ms, decision.decision_id
