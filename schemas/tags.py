"""What tags of all kinds share as authors write them; kinds are in ``streams.core.tags.kinds``."""

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, model_validator

from schemas.authoring import Authored, EventName, EventNames, Id, Match
from schemas.conditions import Audience, Condition, Where, anything

# The three layers that operators speak of: 渠道 where from, 行为 what they do, 业务 what it means.
Layer = Literal["channel", "behaviour", "business"]
# What `siyu tags import` and `siyu tags backfill` write. No behaviour: "*" leaves these out.
IMPORTED: Final = "tag_imported"
BACKFILLED: Final = "tag_backfilled"
# What deliver says of a touch that no channel took.
TOUCH_FAILED: Final = "touch_failed"
SILENT: Final = frozenset({IMPORTED, BACKFILLED, TOUCH_FAILED})
# What an event of a name weighs, 1 if it is not named.
Weights = dict[EventName, Annotated[int | float, Field(ge=0.001, le=1_000_000)]]


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


class EventTag(Authored):
    """A tag of events; ``when: {event, where}`` is another spelling of the two keys.

    Each kind is a model of its own, told apart by ``kind``; a kind that takes a value of the
    event names its path ``value``, and one that counts in a sliding window has ``window_ms``.
    """

    model_config = ConfigDict(json_schema_extra=_allow_when)

    id: Id
    event: EventNames
    where: Where = Field(default_factory=anything)
    description: str = ""
    layer: Layer | None = None
    kind: str

    @property
    def ended_by(self) -> Match | None:
        """Return the events that end what the tag says, of a kind that has such."""
        return None

    @model_validator(mode="before")
    @classmethod
    def _spread_when(cls, raw: Any) -> Any:  # noqa: ANN401 - pydantic hands over what the file holds
        if isinstance(raw, dict) and isinstance(raw.get("when"), dict) and "event" not in raw:
            rest = {key: value for key, value in raw.items() if key != "when"}
            return {**raw["when"], **rest}
        return raw


class MadeTag(Authored):
    """A tag made of others: the first of ``cases`` that holds, or what ``compute`` gives."""

    id: Id
    kind: str
    cases: list[Annotated[dict[Id, Audience], Field(min_length=1, max_length=1)]] = Field(
        default_factory=list[dict[Id, Condition]]
    )
    otherwise: Id | None = Field(None, alias="else")
    compute: Any = None
    description: str = ""
    layer: Layer | None = None


Tag = EventTag | MadeTag


def any_event() -> list[EventName]:
    """Return the default of a kind that mostly is of all events."""
    return ["*"]
