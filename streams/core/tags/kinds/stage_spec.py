"""`stage`: where in their lifecycle a user is, which time alone moves."""

from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.authoring import Authored, DurationMs, EventNames, Id
from schemas.tags import EventTag, any_event
from streams.core.tags.getters import happened
from streams.core.tags.kind_spec import Holds, KindSpec, exact
from streams.core.tags.kinds.stage import EVER, Stage


class Age(Authored):
    """How long ago: under ``lt``, from ``gte`` on, or between the two."""

    lt_ms: DurationMs | None = Field(None, alias="lt")
    gte_ms: DurationMs | None = Field(None, alias="gte")


class Ages(Authored):
    """When a stage holds: by the age of the user's first and of the last event."""

    since_first: Age | None = None
    since_last: Age | None = None


class StageTag(EventTag):
    """The first of ``stages`` whose ages hold, ``else`` if none; time alone moves it."""

    event: EventNames = Field(default_factory=any_event)
    kind: Literal["stage"]
    stages: list[Annotated[dict[Id, Ages], Field(min_length=1, max_length=1)]] = Field(
        min_length=1, max_length=16
    )
    otherwise: Id | None = Field(None, alias="else")


def _names(tag: StageTag) -> list[str]:
    return [name for stage in tag.stages for name in stage]


def _holds(tag: StageTag) -> Holds:
    return Holds("text", (*_names(tag), *filter(None, [tag.otherwise])))


def _make(tag: StageTag) -> Stage:
    stages = [
        (name, *_bounds(ages.since_first), *_bounds(ages.since_last))
        for stage in tag.stages
        for name, ages in stage.items()
    ]
    return Stage(stages, tag.otherwise)


def _bounds(age: Age | None) -> tuple[float, float]:
    """Return from and to (excluded)."""
    gte_ms, lt_ms = (None, None) if age is None else (age.gte_ms, age.lt_ms)
    return -EVER if gte_ms is None else float(gte_ms), EVER if lt_ms is None else float(lt_ms)


SPEC: Final[KindSpec[StageTag, Stage]] = KindSpec(
    model=StageTag,
    layer="business",
    holds=_holds,
    means=lambda tag: (
        f"the first whose ages hold of {', '.join(_names(tag))}, else {tag.otherwise}"
    ),
    error=exact,
    state_bytes=(15, 95),
    examples=(
        """\
- id: cycle
  kind: stage
  stages: [{new: {since_first: {lt: 1h}}}, {active: {since_last: {lt: 2h}}},
    {cooling: {since_last: {gte: 2h, lt: 5h}}}]
  else: lost
""",
    ),
    make=_make,
    take=happened,
    idempotent=True,
)
