"""Tests of tags: events at relative times, a virtual clock, the values at chosen times.

They stand in files that end in ``tags.test.yaml``. The engine of production runs them: the
clock stands at each event's arrival and stops at every timer; a check reads what holds then.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, JsonValue, ValidationError

from schemas.authoring import Authored, Id
from schemas.errors import ConfigInvalid
from schemas.faults import Place, suggest
from schemas.touches import TagChange
from streams.authoring.explain import explain
from streams.authoring.load import TAG_TEST_SUFFIX
from streams.authoring.stories import START, Failure, Happening, OffsetMs, epoch_ms
from streams.authoring.yaml_source import read_yaml
from streams.core.engine import Engine
from streams.core.language.compile import equal
from streams.core.rulebook import Rulebook
from streams.core.state.user import State

_USER = "user_id:test"
_START_MS = epoch_ms(START)


class Check(Authored):
    """What tags read at a time; ``null`` is a tag that the user does not have."""

    at_ms: OffsetMs = Field(alias="at")
    tags: dict[Id, JsonValue] = Field(min_length=1)


class Written(Authored):
    """A change that must have been written, at its very time."""

    at_ms: OffsetMs = Field(alias="at")
    to: JsonValue


class TagCase(Authored):
    """One story of one user. ``changes`` holds all changes, in order, of the tags it names."""

    name: str
    events: list[Happening] = Field(min_length=1)
    check: list[Check] = Field(default_factory=list[Check])
    changes: dict[Id, list[Written]] = Field(default_factory=dict)


class TagTestFile(Authored):
    """A ``*tags.test.yaml``."""

    __test__ = False

    cases: list[TagCase] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class _Step:
    at_ms: int
    order: int
    run: Callable[[], None]


def find_tag_tests(path: Path) -> list[Path]:
    """Return the files of a rulebook's folder that test tags, in order."""
    return sorted(path.rglob(f"*{TAG_TEST_SUFFIX}"))


def read_tests(file: Path) -> TagTestFile:
    """Return the cases of a file; raises ``ConfigInvalid`` if it is none."""
    located = read_yaml(file)
    try:
        return TagTestFile.model_validate(located.data)
    except ValidationError as invalid:
        raise explain(located, invalid) from invalid


def run_tag_tests(rulebook: Rulebook, file: Path) -> list[Failure]:
    """Run a test file; raises ``ConfigInvalid`` if it is none."""
    tests, located, engine = read_tests(file), read_yaml(file), Engine(rulebook)
    failures: list[Failure] = []
    for i, case in enumerate(tests.cases):
        for place, tag in _named(case):
            if tag not in {known.id for known in rulebook.tags}:
                hint = suggest(tag, [known.id for known in rulebook.tags])
                line = located.line(("cases", i, *place))
                raise ConfigInvalid(file, f"unknown tag {tag}", hint=hint, line=line)
        for place, problem in _Story(engine, case).problems():
            line = located.line(("cases", i, *place))
            failures.append(Failure(file, line, case.name, problem))
    return failures


def _named(case: TagCase) -> Iterator[tuple[Place, str]]:
    for i, check in enumerate(case.check):
        yield from ((("check", i, "tags", tag), tag) for tag in check.tags)
    yield from ((("changes", tag), tag) for tag in case.changes)


class _Story:
    """One case as it runs."""

    def __init__(self, engine: Engine, case: TagCase) -> None:
        self._engine, self._case = engine, case
        self._state: State = engine.load(None)
        self._changes: list[TagChange] = []
        self._problems: list[tuple[Place, str]] = []

    def problems(self) -> list[tuple[Place, str]]:
        steps = [
            _Step(happening.arrival_ms, 0, self._happen(number, happening))
            for number, happening in enumerate(self._case.events)
        ]
        checks = enumerate(self._case.check)
        steps += [_Step(check.at_ms, 1, self._look(i, check)) for i, check in checks]
        ends = [change.at_ms for written in self._case.changes.values() for change in written]
        steps += [_Step(end_ms, 2, lambda: None) for end_ms in ends]
        for step in sorted(steps, key=lambda step: (step.at_ms, step.order)):
            # What arrives in the millisecond of a timer is there before it, as on a lane.
            self._run_to(_START_MS + step.at_ms - (step.order == 0))
            step.run()
        return self._problems + list(self._compare_changes())

    def _happen(self, number: int, happening: Happening) -> Callable[[], None]:
        def run() -> None:
            event = happening.to_event(number, _USER, _START_MS)
            self._changes += self._engine.on_event(self._state, event).tag_changes

        return run

    def _look(self, i: int, check: Check) -> Callable[[], None]:
        def run() -> None:
            have = self._engine.read_tags(self._state, _START_MS + check.at_ms)
            for tag, want in check.tags.items():
                got = have.get(tag)
                if not (got is None if want is None else _same(want, got)):
                    self._problems.append(
                        (("check", i, "tags", tag), f"{tag} is {got!r}, not {want!r}")
                    )

        return run

    def _run_to(self, now_ms: int) -> None:
        while (at_ms := self._engine.next_timer_ms(self._state)) is not None and at_ms <= now_ms:
            self._changes += self._engine.on_timers(self._state, _USER, at_ms).tag_changes

    def _compare_changes(self) -> Iterator[tuple[Place, str]]:
        for tag, wanted in self._case.changes.items():
            want = [(change.at_ms, change.to) for change in wanted]
            got = [(c.time_ms - _START_MS, c.after) for c in self._changes if c.tag == tag]
            if len(want) != len(got) or not all(
                a[0] == b[0] and (a[1] is b[1] or _same(a[1], b[1]))
                for a, b in zip(want, got, strict=True)
            ):
                moves = ", ".join(f"{at_ms / 3_600_000:g}h: {after!r}" for at_ms, after in got)
                yield ("changes", tag), f"{tag} went {moves or 'nowhere'}"


def _same(want: object, got: object) -> bool:
    """Compare as JSON; of a mapping only what is written."""
    if isinstance(want, dict) and isinstance(got, dict):
        return all(key in got and _same(value, got[key]) for key, value in want.items())
    return equal(want, got)
