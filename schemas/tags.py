"""Tags as authors write them: one model per kind, told apart by ``kind``."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from schemas.authoring import Authored, Condition, DurationMs, EventNames, EventPath, Id, Match


def _allow_when(schema: dict[str, Any]) -> None:
    """Tell editors, too, of the other spelling: ``when`` instead of ``event`` and ``where``."""
    when = {key: schema["properties"][key] for key in ("event", "where")}
    schema["properties"]["when"] = {
        "type": "object",
        "properties": when,
        "required": ["event"],
        "additionalProperties": False,
    }
    schema["required"] = [key for key in schema["required"] if key != "event"]
    schema["anyOf"] = [{"required": ["event"]}, {"required": ["when"]}]


class _Tag(Authored):
    """What all kinds have; ``when: {event, where}`` is another spelling of the two keys."""

    model_config = ConfigDict(json_schema_extra=_allow_when)

    id: Id
    event: EventNames
    where: Condition = Field(default_factory=dict)
    description: str = ""

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


Tag = Annotated[CountTag | SumTag | LastTag | FirstTag | FlagTag, Field(discriminator="kind")]


class TagKinds:
    """Names of the kinds: those that run, and those that the language has set aside."""

    known: ClassVar = ("count", "sum", "last", "first", "flag")
    planned: ClassVar = ("avg", "min", "max", "distinct", "topk", "decay", "stage", "rfm")
