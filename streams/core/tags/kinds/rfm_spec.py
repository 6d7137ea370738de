"""`rfm`: scores of recency, frequency and money, and the segment that they name."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from schemas.authoring import UNITS_MS, DurationMs, EventPath
from schemas.tags import EventTag
from streams.core.tags.kind_spec import NUMBER, Holds, KindSpec, always, exact
from streams.core.tags.kinds.rfm import SEGMENTS, Rfm

_DAY_MS: Final = UNITS_MS["d"]


def _rising(steps: list[Any]) -> list[Any]:
    if steps != sorted(set(steps)):
        raise PydanticCustomError("rising", "thresholds rise from the first to the last")
    return steps


_Steps = Annotated[list[int | float], Field(min_length=4, max_length=4), AfterValidator(_rising)]
_AgeSteps = Annotated[list[DurationMs], Field(min_length=4, max_length=4), AfterValidator(_rising)]


class RfmTag(EventTag):
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


SPEC: Final[KindSpec[RfmTag, Rfm]] = KindSpec(
    model=RfmTag,
    layer="business",
    holds=always(None),
    parts={
        "r": NUMBER,
        "f": NUMBER,
        "m": NUMBER,
        "segment": Holds("text", tuple(SEGMENTS.values())),
    },
    means=lambda tag: (
        f"scores 1 to 5 of recency, frequency and {tag.value}, and the segment's name"
    ),
    error=exact,
    state_bytes=(21, 35),
    examples=(
        (
            "- {id: rfm, kind: rfm, event: order_paid, value: properties.amount,"
            " recency: [1h, 2h, 5h, 9h]}"
        ),
    ),
    make=lambda tag: Rfm(tag.recency, tag.frequency, tag.monetary, tag.high),
)
