"""`count` and `sum`: how many events, or the sum of a value."""

from typing import Final, Literal

from pydantic import Field

from schemas.authoring import DurationMs, EventPath
from schemas.tags import EventTag
from streams.core.tags.getters import happened
from streams.core.tags.kind_spec import NUMBER, KindSpec, always, exact
from streams.core.tags.kinds.totals import COUNT, SUM, Ever, Rolling


class CountTag(EventTag):
    """How many events there were: ever, or in the sliding ``window``; 0 when there is none."""

    kind: Literal["count"]
    window_ms: DurationMs | None = Field(None, alias="window")


class SumTag(EventTag):
    """The sum of ``value`` over events: ever, or in the sliding ``window``; 0 when none."""

    kind: Literal["sum"]
    value: EventPath
    window_ms: DurationMs | None = Field(None, alias="window")


def _count(tag: CountTag) -> Ever | Rolling:
    return Rolling("C", COUNT, tag.window_ms) if tag.window_ms else Ever("c", COUNT)


def _sum(tag: SumTag) -> Ever | Rolling:
    return Rolling("S", SUM, tag.window_ms) if tag.window_ms else Ever("s", SUM)


COUNT_SPEC: Final[KindSpec[CountTag, Ever | Rolling]] = KindSpec(
    model=CountTag,
    holds=always(NUMBER),
    means=lambda _tag: "how many events there were",
    error=exact,
    state_bytes=(3, 12),
    examples=(
        '- {id: n, kind: count, event: "*"}',
        "- {id: n, kind: count, event: [order_paid, app_started], window: 1h}",
    ),
    make=_count,
    take=happened,
)
SUM_SPEC: Final[KindSpec[SumTag, Ever | Rolling]] = KindSpec(
    model=SumTag,
    holds=always(NUMBER),
    means=lambda tag: f"the sum of {tag.value}",
    error=exact,
    state_bytes=(7, 12),
    examples=(
        "- {id: gmv, kind: sum, event: order_paid, value: properties.amount}",
        "- {id: gmv, kind: sum, event: order_paid, value: properties.amount, window: 1h}",
    ),
    make=_sum,
)
