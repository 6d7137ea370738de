"""A rule's steps as a program: each by its id, with what comes after it."""

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.conditions import Condition
from schemas.rules import Rule, Send, Step, Wait
from streams.core.language.compile import Audience, audience


@dataclass(frozen=True, slots=True)
class Fork:
    """A compiled branch: its condition and where each side begins, ``None`` for nowhere."""

    condition: Audience
    then: str | None
    otherwise: str | None


@dataclass(frozen=True, slots=True)
class Placed:
    """One step of the program; a fork's sides come together at ``after``, too."""

    id: str
    what: Send | Wait | Fork
    after: str | None


Program = dict[str, Placed]


def walk(steps: list[Step], prefix: str = "") -> Iterator[tuple[str, Step]]:
    """Yield all steps with their ids, as they are written."""
    for i, step in enumerate(steps):
        here = step.id or f"{prefix}{i}"
        yield here, step
        if step.branch is not None:
            yield from walk(step.branch.then, f"{here}-then-")
            yield from walk(step.branch.otherwise, f"{here}-else-")


def conditions(rule: Rule) -> Iterator[Condition]:
    """Yield the conditions of all branches."""
    for _, step in walk(rule.steps):
        if step.branch is not None:
            yield step.branch.when


def compiled(steps: list[Step]) -> tuple[Program, str]:
    """Return the program of steps and the id of the first."""
    program: Program = {}
    first = _lay(program, steps, "", None)
    if first is None:
        raise ValueError("a rule has at least one step")
    return program, first


def _lay(program: Program, steps: list[Step], prefix: str, after: str | None) -> str | None:
    """Add steps that are followed by ``after``; return where they begin."""
    for i, step in reversed(list(enumerate(steps))):
        here = step.id or f"{prefix}{i}"
        what: Send | Wait | Fork
        if step.branch is not None:
            condition = audience(step.branch.when.node)
            if condition is None:
                raise ValueError("a branch asks something")
            what = Fork(
                condition,
                _lay(program, step.branch.then, f"{here}-then-", after),
                _lay(program, step.branch.otherwise, f"{here}-else-", after),
            )
        elif step.wait is not None:
            what = step.wait
        elif step.send is not None:
            what = step.send
        program[here] = Placed(here, what, after)
        after = here
    return after
