"""`avg`, `min` and `max`: the mean and the extremes of a value."""

from typing import Final, Literal

from pydantic import Field

from schemas.authoring import DurationMs, EventPath
from schemas.tags import EventTag
from streams.core.tags.kind_spec import NUMBER, KindSpec, always, exact
from streams.core.tags.kinds.aggregate import AVG, MAX, MIN, Aggregate, Lifelong, Sliding


class AvgTag(EventTag):
    """The mean of ``value`` over events: ever, or in the sliding ``window``."""

    kind: Literal["avg"]
    value: EventPath
    window_ms: DurationMs | None = Field(None, alias="window")


class MinTag(EventTag):
    """The least ``value`` of events: ever, or in the sliding ``window``."""

    kind: Literal["min"]
    value: EventPath
    window_ms: DurationMs | None = Field(None, alias="window")


class MaxTag(EventTag):
    """The greatest ``value`` of events: ever, or in the sliding ``window``."""

    kind: Literal["max"]
    value: EventPath
    window_ms: DurationMs | None = Field(None, alias="window")


def _lives(code: str, aggregate: Aggregate, window_ms: int | None) -> Lifelong | Sliding:
    if window_ms:
        return Sliding(code.upper(), aggregate, window_ms)
    return Lifelong(code, aggregate)


AVG_SPEC: Final[KindSpec[AvgTag, Lifelong | Sliding]] = KindSpec(
    model=AvgTag,
    holds=always(NUMBER),
    means=lambda tag: f"the mean of {tag.value}",
    error=exact,
    state_bytes=(9, 20),
    examples=(
        "- {id: avg, kind: avg, event: order_paid, value: properties.amount}",
        "- {id: avg, kind: avg, event: order_paid, value: properties.amount, window: 1h}",
    ),
    make=lambda tag: _lives("a", AVG, tag.window_ms),
)
MIN_SPEC: Final[KindSpec[MinTag, Lifelong | Sliding]] = KindSpec(
    model=MinTag,
    holds=always(NUMBER),
    means=lambda tag: f"the least {tag.value}",
    error=exact,
    state_bytes=(7, 12),
    examples=(
        "- {id: min, kind: min, event: order_paid, value: properties.amount}",
        "- {id: min, kind: min, event: order_paid, value: properties.amount, window: 1h}",
    ),
    make=lambda tag: _lives("n", MIN, tag.window_ms),
    idempotent=True,
)
MAX_SPEC: Final[KindSpec[MaxTag, Lifelong | Sliding]] = KindSpec(
    model=MaxTag,
    holds=always(NUMBER),
    means=lambda tag: f"the greatest {tag.value}",
    error=exact,
    state_bytes=(7, 12),
    examples=(
        "- {id: max, kind: max, event: order_paid, value: properties.amount}",
        "- {id: max, kind: max, event: order_paid, value: properties.amount, window: 1h}",
    ),
    make=lambda tag: _lives("x", MAX, tag.window_ms),
    idempotent=True,
)
