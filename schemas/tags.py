"""Tags as authors write them: one model per kind, told apart by ``kind``."""

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.authoring import (
    UNITS_MS,
    Authored,
    Condition,
    DurationMs,
    EventName,
    EventNames,
    EventPath,
    Id,
    Match,
)

_DAY_MS: Final = UNITS_MS["d"]
# The three layers that operators speak of: 渠道 where from, 行为 what they do, 业务 what it means.
Layer = Literal["channel", "behaviour", "business"]
# What `siyu tags import` and `siyu tags backfill` write. No behaviour: "*" leaves these out.
IMPORTED: Final = "tag_imported"
BACKFILLED: Final = "tag_backfilled"
# What deliver says of a touch that no channel took.
TOUCH_FAILED: Final = "touch_failed"
SILENT: Final = frozenset({IMPORTED, BACKFILLED, TOUCH_FAILED})


def _allow_when(schema: dict[str, Any]) -> None:
    """Tell editors, too, of the other spelling: ``when`` instead of ``event`` and ``where``."""
    when = {key: schema["properties"][key] for key in ("event", "where")}
    schema["properties"]["when"] = {
        "type": "object",
        "properties": when,
        "required": ["event"],
        "additionalProperties": False,
    }
    if "event" not in schema["required"]:
        return
    schema["required"] = [key for key in schema["required"] if key != "event"]
    schema["anyOf"] = [{"required": ["event"]}, {"required": ["when"]}]


class _Tag(Authored):
    """What all kinds have; ``when: {event, where}`` is another spelling of the two keys."""

    model_config = ConfigDict(json_schema_extra=_allow_when)

    id: Id
    event: EventNames
    where: Condition = Field(default_factory=dict)
    description: str = ""
    layer: Layer | None = None

    @model_validator(mode="before")
    @classmethod
    def _spread_when(cls, raw: Any) -> Any:  # noqa: ANN401 - pydantic hands over what the file holds
        if isinstance(raw, dict) and isinstance(raw.get("when"), dict) and "event" not in raw:
            rest = {key: value for key, value in raw.items() if key != "when"}
            return {**raw["when"], **rest}
        return raw


class CountTag(_Tag):
    """How many events there were: ever, or in the sliding ``window``; 0 when there is none."""

    kind: Literal["count"]
    window_ms: DurationMs | None = Field(None, alias="window")


class SumTag(_Tag):
    """The sum of ``value`` over events: ever, or in the sliding ``window``; 0 when none."""

    kind: Literal["sum"]
    value: EventPath
    window_ms: DurationMs | None = Field(None, alias="window")


class LastTag(_Tag):
    """``value`` of the latest event by event time; events without it do not count."""

    kind: Literal["last"]
    value: EventPath


class FirstTag(_Tag):
    """``value`` of the earliest event by event time; events without it do not count."""

    kind: Literal["first"]
    value: EventPath


class FlagTag(_Tag):
    """True from an event on, for ``ttl`` after the latest one or until an ``until`` event."""

    kind: Literal["flag"]
    ttl_ms: DurationMs | None = Field(None, alias="ttl")
    until: Match | None = None


def _any_event() -> list[EventName]:
    return ["*"]


class AvgTag(_Tag):
    """The mean of ``value`` over events: ever, or in the sliding ``window``."""

    kind: Literal["avg"]
    value: EventPath
    window_ms: DurationMs | None = Field(None, alias="window")


class MinTag(_Tag):
    """The least ``value`` of events: ever, or in the sliding ``window``."""

    kind: Literal["min"]
    value: EventPath
    window_ms: DurationMs | None = Field(None, alias="window")


class MaxTag(_Tag):
    """The greatest ``value`` of events: ever, or in the sliding ``window``."""

    kind: Literal["max"]
    value: EventPath
    window_ms: DurationMs | None = Field(None, alias="window")


class DistinctTag(_Tag):
    """How many different ``value`` there were: exact up to 16, then within 13 % (one sigma)."""

    kind: Literal["distinct"]
    value: EventPath


Weights = dict[EventName, Annotated[int | float, Field(ge=0.001, le=1_000_000)]]


class TopkTag(_Tag):
    """The ``k`` values with the most weight, the heaviest first; weight halves in ``half_life``.

    An event weighs 1, or what ``weights`` says for its name.
    """

    kind: Literal["topk"]
    value: EventPath
    k: int = Field(3, ge=1, le=10)
    weights: Weights = Field(default_factory=dict)
    half_life_ms: DurationMs | None = Field(None, alias="half_life")


class DecayTag(_Tag):
    """A score that halves in ``half_life``: each event adds its weight, times ``value`` if set."""

    kind: Literal["decay"]
    value: EventPath | None = None
    weights: Weights = Field(default_factory=dict)
    half_life_ms: DurationMs = Field(alias="half_life")


class PerKeyTag(_Tag):
    """Counts by ``value``, of the ``keys`` values that were seen last."""

    kind: Literal["per_key"]
    value: EventPath
    keys: int = Field(32, ge=1, le=64)


class Age(Authored):
    """How long ago: under ``lt``, from ``gte`` on, or between the two."""

    lt_ms: DurationMs | None = Field(None, alias="lt")
    gte_ms: DurationMs | None = Field(None, alias="gte")


class Ages(Authored):
    """When a stage holds: by the age of the user's first and of the last event."""

    since_first: Age | None = None
    since_last: Age | None = None


class StageTag(_Tag):
    """The first of ``stages`` whose ages hold, ``else`` if none; time alone moves it."""

    event: EventNames = Field(default_factory=_any_event)
    kind: Literal["stage"]
    stages: list[Annotated[dict[Id, Ages], Field(min_length=1, max_length=1)]] = Field(
        min_length=1, max_length=16
    )
    otherwise: Id | None = Field(None, alias="else")


def _rising(steps: list[Any]) -> list[Any]:
    if steps != sorted(set(steps)):
        raise PydanticCustomError("rising", "thresholds rise from the first to the last")
    return steps


_Steps = Annotated[list[int | float], Field(min_length=4, max_length=4), AfterValidator(_rising)]
_AgeSteps = Annotated[list[DurationMs], Field(min_length=4, max_length=4), AfterValidator(_rising)]


class RfmTag(_Tag):
    """Scores from 1 to 5 of recency, frequency and ``value`` (money), and the segment's name.

    Four thresholds make five scores; a score of ``high`` or more is high for the segment.
    """

    kind: Literal["rfm"]
    value: EventPath
    recency: _AgeSteps = Field(
        default_factory=lambda: [days * _DAY_MS for days in (30, 90, 180, 365)]
    )
    frequency: _Steps = Field(default_factory=lambda: list[int | float]((2, 3, 5, 10)))
    monetary: _Steps = Field(default_factory=lambda: list[int | float]((200, 500, 1000, 3000)))
    high: int = Field(4, ge=2, le=5)


class ChannelTag(_Tag):
    """The channel of the first and of the last touch, by event time: ``{first, last}``."""

    event: EventNames = Field(default_factory=_any_event)
    kind: Literal["channel"]
    value: EventPath = "context.channel"


class ExprTag(Authored):
    """A value made of other tags: the first of ``cases`` that holds, or what ``compute`` gives."""

    id: Id
    kind: Literal["expr"]
    cases: list[Annotated[dict[Id, Condition], Field(min_length=1, max_length=1)]] = Field(
        default_factory=list[dict[Id, Condition]]
    )
    otherwise: Id | None = Field(None, alias="else")
    compute: Any = None
    description: str = ""
    layer: Layer | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.cases) == (self.compute is not None):
            raise PydanticCustomError("one_form", "write exactly one of cases, compute")
        return self


class Bounds(Authored):
    """From which value on a user is high or middle, as computed at ``at`` of so many ``users``."""

    high: int | float
    middle: int | float
    at: str = ""
    users: int = 0

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if self.high < self.middle:
            raise PydanticCustomError("falling", "high is not below middle")
        return self


class Quantiles(Authored):
    """The share of users below each bound: 0.9 leaves the tenth with the most value."""

    high: float = Field(0.9, gt=0, lt=1)
    middle: float = Field(0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if self.high < self.middle:
            raise PydanticCustomError("falling", "high is not below middle")
        return self


class ValueTierTag(ExprTag):
    """``high``, ``middle`` or ``low`` by the number ``of`` another tag.

    Either with ``bounds``, or with ``quantiles``: then `siyu tags bounds` computes the bounds
    in ClickHouse and writes them to a file of the rulebook. Until then the tag is missing.
    """

    kind: Literal["value_tier"]  # type: ignore[assignment]  # it runs as an expr of its bounds
    of: Annotated[str, Field(pattern=r"^tag\.[a-z][a-z0-9_]*(\.[a-z_]+)?$")]
    bounds: Bounds | None = None
    quantiles: Quantiles | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_words(cls, raw: Any) -> Any:  # noqa: ANN401 - pydantic hands over what the file holds
        wrong = {"cases", "else", "compute"} & set(raw) if isinstance(raw, dict) else None
        if wrong:
            raise PydanticCustomError("one_form", "a value_tier has no {key}", {"key": min(wrong)})
        return raw

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.bounds is None) == (self.quantiles is None):
            raise PydanticCustomError("one_form", "write exactly one of bounds, quantiles")
        return self if self.bounds is None else self.bounded(self.bounds)

    def bounded(self, bounds: Bounds) -> Self:
        """Return the tag with these bounds."""
        cases = [
            {"high": {self.of: {"gte": bounds.high}}},
            {"middle": {self.of: {"gte": bounds.middle}}},
        ]
        return self.model_copy(update={"cases": cases, "otherwise": "low"})


class ImportTag(_Tag):
    """What `siyu tags import` said last, by its time: a value from outside, or nothing."""

    event: EventNames = Field(default_factory=lambda: [IMPORTED])
    kind: Literal["import"]

    @model_validator(mode="after")
    def _only_imports(self) -> Self:
        if self.event != [IMPORTED]:
            raise PydanticCustomError("import_event", "an import tag has no event of its own")
        return self


class ChurnRiskTag(_Tag):
    """``{level, risk}``: how unusual a user's silence is, by the rhythm of their own events.

    ``rhythm`` stands for the interval of who has none yet; ``middle`` and ``high`` are risks.
    """

    kind: Literal["churn_risk"]
    rhythm_ms: DurationMs = Field(60 * _DAY_MS, alias="rhythm")
    middle: float = Field(0.5, gt=0, lt=1)
    high: float = Field(0.8, gt=0, lt=1)

    @model_validator(mode="after")
    def _rising_risk(self) -> Self:
        if self.high < self.middle:
            raise PydanticCustomError("falling", "high is not below middle")
        return self


EventTag = (
    CountTag
    | SumTag
    | LastTag
    | FirstTag
    | FlagTag
    | AvgTag
    | MinTag
    | MaxTag
    | DistinctTag
    | TopkTag
    | DecayTag
    | PerKeyTag
    | StageTag
    | RfmTag
    | ChannelTag
    | ImportTag
    | ChurnRiskTag
)
Tag = Annotated[EventTag | ExprTag | ValueTierTag, Field(discriminator="kind")]
_BUSINESS: Final = frozenset({"stage", "rfm", "expr", "value_tier", "churn_risk", "import"})


def layer_of(tag: EventTag | ExprTag) -> Layer:
    """Return the layer that a tag is marked with, else that of its kind."""
    if tag.layer is not None:
        return tag.layer
    if tag.kind == "channel" or getattr(tag, "value", None) == "context.channel":
        return "channel"
    return "business" if tag.kind in _BUSINESS else "behaviour"


class TagKinds:
    """Names of the kinds."""

    known: ClassVar = (
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "first",
        "last",
        "flag",
        "distinct",
        "topk",
        "decay",
        "per_key",
        "stage",
        "rfm",
        "channel",
        "expr",
        "import",
        "value_tier",
        "churn_risk",
    )
