"""Tests that stand beside a rule: events at relative times, a virtual clock, expected decisions.

The same engine as in production runs them. The clock stands at each event's arrival in
turn and stops at every timer on the way; after the last event it runs on to ``until``.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    ValidationError,
)

from schemas.authoring import Authored, Id
from schemas.errors import ConfigInvalid
from schemas.faults import Place, suggest
from schemas.policies import Zone
from schemas.touches import Decision, Outcome, TagChange
from streams.authoring.explain import explain
from streams.authoring.load import TAG_TEST_SUFFIX, TEST_SUFFIX
from streams.authoring.stories import START, Failure, Happening, OffsetMs, check_start, epoch_ms
from streams.authoring.yaml_source import read_yaml
from streams.core.fixed_tags import FixedTags
from streams.core.language.compile import equal
from streams.core.rulebook import Rulebook
from streams.core.rules.evaluation import Effects
from streams.core.rules.rule import LiveRule

DAY_MS: Final = 86_400_000
_USER: Final = "user_id:test"
# A group of a thousandth of all users is found with near certainty.
_TRIES: Final = 20_000


class Expected(Authored):
    """A decision that must come; only what is written is compared.

    ``at`` counts from the start; ``when`` is a time with its zone, for days that clocks change.
    """

    at_ms: OffsetMs | None = Field(None, alias="at")
    when: Annotated[str, AfterValidator(check_start)] | None = None
    rule: Id | None = None
    outcome: Outcome
    reason: str | None = None
    template: str | None = None
    variant: str | None = None
    value: float | int | None = None
    tags: dict[str, JsonValue] = Field(default_factory=dict)


class Case(Authored):
    """One story of one user: all its decisions, in order, and tags at the end.

    ``given`` sets values of tags for the whole story; ``zone`` is where the user is. Unless
    ``user`` is named, users are tried until one is in the ``group`` and has the ``variant``.
    """

    name: str
    user: str = ""
    group: Literal["treated", "holdout", "holdout:global"] = "treated"
    variant: Id | None = None
    zone: Zone | None = None
    fixed: dict[Id, JsonValue] = Field(default_factory=dict, alias="given")
    start: Annotated[str, AfterValidator(check_start)] = START
    events: list[Happening] = Field(min_length=1)
    until_ms: OffsetMs = Field(DAY_MS, alias="until")
    expect: list[Expected]
    tags: dict[str, JsonValue] = Field(default_factory=dict)


class TestFile(Authored):
    """A ``*.test.yaml``: with ``rule``, other rules' decisions are left out."""

    __test__ = False

    rule: Id | None = None
    cases: list[Case] = Field(min_length=1)


def find_tests(path: Path) -> list[Path]:
    """Return the test files of a rulebook's folder, in order, those of tags aside."""
    files = path.rglob(f"*{TEST_SUFFIX}")
    return sorted(file for file in files if not file.name.endswith(TAG_TEST_SUFFIX))


def run(rulebook: Rulebook, file: Path) -> list[Failure]:
    """Run a test file; raises ``ConfigInvalid`` if it is not one. A draft under test runs live."""
    located = read_yaml(file)
    try:
        tests = TestFile.model_validate(located.data)
    except ValidationError as invalid:
        raise explain(located, invalid) from invalid
    if tests.rule is not None and tests.rule not in rulebook.versions:
        hint = suggest(tests.rule, rulebook.versions)
        line = located.line(("rule",))
        raise ConfigInvalid(file, f"unknown rule {tests.rule}", hint=hint, line=line)
    engine = FixedTags(_awake(rulebook, tests.rule))
    failures: list[Failure] = []
    for i, case in enumerate(tests.cases):
        story = _Story(engine, case, tests.rule)
        for place, problem in story.problems():
            line = located.line(("cases", i, *place))
            failures.append(Failure(file, line, case.name, problem))
    return failures


def _awake(rulebook: Rulebook, tested: str | None) -> Rulebook:
    rules = tuple(
        rule.model_copy(update={"status": "live"})
        if rule.id == tested and rule.status in ("draft", "paused")
        else rule
        for rule in rulebook.rules
    )
    return replace(rulebook, rules=rules)


class _Story:
    """One case as it runs."""

    def __init__(self, engine: FixedTags, case: Case, rule: str | None) -> None:
        self._engine, self._case, self._rule = engine, case, rule
        self._start_ms = epoch_ms(case.start)
        self._state = engine.load(None)
        self._state.zone = case.zone or ""
        self._user = case.user or _user(engine.rulebook, case, rule)
        self._effects = Effects()
        engine.values = dict(case.fixed)

    def problems(self) -> list[tuple[Place, str]]:
        self._play()
        got = [
            decision for decision in self._effects.decisions if self._rule in (None, decision.rule)
        ]
        problems: list[tuple[Place, str]] = []
        for i, (want, have) in enumerate(zip(self._case.expect, got, strict=False)):
            wrong = self._compare(want, have)
            if wrong:
                problems.append((("expect", i), wrong))
        problems += [
            (("expect", i), "it did not come") for i in range(len(got), len(self._case.expect))
        ]
        problems += [
            (("expect",), f"not expected: {self._describe(decision)}")
            for decision in got[len(self._case.expect) :]
        ]
        return problems + self._wrong_tags()

    def _play(self) -> None:
        arrivals = sorted(
            enumerate(self._case.events), key=lambda pair: (pair[1].arrival_ms, pair[0])
        )
        for number, happening in arrivals:
            # What arrives in the millisecond of a timer is there before it: ends are included.
            self._run_to(self._start_ms + happening.arrival_ms - 1)
            if happening.fixed:
                self._add(self._set_tags(happening))
            else:
                event = happening.to_event(number, self._user, self._start_ms)
                self._add(self._engine.on_event(self._state, event))
        self._run_to(self._start_ms + arrivals[-1][1].arrival_ms + self._case.until_ms)

    def _run_to(self, now_ms: int) -> None:
        while (at_ms := self._engine.next_timer_ms(self._state)) is not None and at_ms <= now_ms:
            self._add(self._engine.on_timers(self._state, self._user, at_ms))

    def _set_tags(self, happening: Happening) -> Effects:
        at_ms = self._start_ms + happening.at_ms
        read = self._engine.read_tag
        changes = [
            TagChange(
                tag=tag,
                before=read(self._state, tag, at_ms),
                after=value,
                time_ms=at_ms,
            )
            for tag, value in happening.fixed.items()
        ]
        self._engine.values |= happening.fixed
        return self._engine.on_changes(self._state, self._user, changes, at_ms)

    def _add(self, effects: Effects) -> None:
        self._effects.decisions += effects.decisions
        self._effects.touches += effects.touches

    def _compare(self, want: Expected, have: Decision) -> str:
        """Return what differs from what is written; nothing if all agrees."""
        touch = next((t for t in self._effects.touches if t.touch_id == have.touch_id), None)
        pairs: dict[str, tuple[object, object]] = {
            "rule": (want.rule, have.rule),
            "outcome": (want.outcome, have.outcome),
            "reason": (want.reason, have.reason),
            "template": (want.template, touch.template if touch else ""),
            "variant": (want.variant, have.variant),
            "value": (want.value, have.value),
            **{f"tag {tag}": (value, have.tags.get(tag)) for tag, value in want.tags.items()},
        }
        wrong = [
            f"{name} is {got!r}, not {wanted!r}"
            for name, (wanted, got) in pairs.items()
            if wanted is not None and not equal(wanted, got)
        ]
        at_ms = None if want.at_ms is None else self._start_ms + want.at_ms
        at_ms = epoch_ms(want.when) if want.when else at_ms
        if at_ms is not None and have.time_ms != at_ms:
            wrong.append(f"at {self._ago(have.time_ms)}, not {self._ago(at_ms)}")
        return f"{'; '.join(wrong)} [{self._describe(have)}]" if wrong else ""

    def _wrong_tags(self) -> list[tuple[Place, str]]:
        end_ms = self._start_ms + max(happening.arrival_ms for happening in self._case.events)
        tags = self._engine.read_tags(self._state, end_ms)
        return [
            (("tags", tag), f"tag {tag} is {tags.get(tag)!r}, not {value!r}")
            for tag, value in self._case.tags.items()
            if not equal(value, tags.get(tag))
        ]

    def _describe(self, have: Decision) -> str:
        return f"{have.rule} {have.outcome} ({have.reason}) at {self._ago(have.time_ms)}"

    def _ago(self, time_ms: int) -> str:
        return f"{(time_ms - self._start_ms) / 60_000:g}m"


def _user(rulebook: Rulebook, case: Case, rule_id: str | None) -> str:
    """Return a user of the group and the variant that a case asks for."""
    rule = next((rule for rule in rulebook.rules if rule.id == rule_id), None)
    if rule is None:
        return _USER
    live = LiveRule(rule, "", None, rulebook.policies, lambda *_: None)
    group = "" if case.group == "treated" else case.group
    users = (f"{_USER}-{i}" if i else _USER for i in range(_TRIES))
    for user in users:
        if live.holdout_of(user) == group and case.variant in (None, live.variant_of(user)):
            return user
    return _USER
