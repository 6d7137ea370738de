"""What tests of rules and of tags have in common: events at relative times, and failures."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, JsonValue, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from schemas.authoring import Authored, Id, parse_duration_ms
from schemas.events import Event
from schemas.sources import Source

# A Monday morning in Shanghai.
START: Final = "2026-03-02T10:00:00+08:00"


def _offset_ms(raw: object) -> int:
    return 0 if raw in ("0s", "0m", "0h", "0d") else parse_duration_ms(raw)


def check_start(raw: str) -> str:
    """Return a text that is a time with its zone; raises pydantic's error if it is none."""
    try:
        aware = datetime.fromisoformat(raw).tzinfo is not None
    except ValueError:
        aware = False
    if not aware:
        raise PydanticCustomError(
            "start", "start is a time with its zone, like {like}", {"like": START}
        )
    return raw


OffsetMs = Annotated[int, BeforeValidator(_offset_ms), WithJsonSchema({"type": "string"})]


class Happening(Authored):
    """An event of a test: it happens ``at`` and arrives ``received``, by default at once.

    Instead of an event, ``given`` sets values of tags, as an import would.
    """

    at_ms: OffsetMs = Field(alias="at")
    received_ms: OffsetMs | None = Field(None, alias="received")
    event: str = ""
    source: Source = "app"
    properties: dict[str, JsonValue] = Field(default_factory=dict)
    context: dict[str, JsonValue] = Field(default_factory=dict)
    traits: dict[str, JsonValue] = Field(default_factory=dict)
    identities: dict[str, str] = Field(default_factory=dict)
    fixed: dict[Id, JsonValue] = Field(default_factory=dict, alias="given")

    @model_validator(mode="after")
    def _event_or_tags(self) -> Self:
        if bool(self.event) == bool(self.fixed):
            raise PydanticCustomError("happening", "write exactly one of event, given")
        return self

    @property
    def arrival_ms(self) -> int:
        """Return when it arrives, in ms from the start."""
        return self.at_ms if self.received_ms is None else self.received_ms

    def to_event(self, number: int, user: str, start_ms: int) -> Event:
        """Return the event; ``number`` is its place in the story, ``start_ms`` epoch ms."""
        return Event(
            message_id=f"m{number}",
            type="track",
            event=self.event,
            user=user,
            source=self.source,
            door="native",
            account="test",
            timestamp_ms=start_ms + self.at_ms,
            received_at_ms=start_ms + self.arrival_ms,
            identities=self.identities,
            properties=dict(self.properties),
            context=dict(self.context),
            traits=dict(self.traits),
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that did not go as written."""

    file: Path
    line: int | None
    case: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.case}: {self.problem}"


def epoch_ms(when: str) -> int:
    """Return the epoch ms of a time with its zone, in ISO 8601."""
    return round(datetime.fromisoformat(when).timestamp() * 1000)
