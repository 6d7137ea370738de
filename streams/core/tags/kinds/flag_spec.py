"""`flag`: true from an event on, for a time or until another event."""

from typing import Final, Literal

from pydantic import Field

from schemas.authoring import DurationMs, Match, spell_duration
from schemas.tags import EventTag
from streams.core.tags.getters import untouched
from streams.core.tags.kind_spec import TRUE_OR_FALSE, KindSpec, always, exact
from streams.core.tags.kinds.flag import Flag


class FlagTag(EventTag):
    """True from an event on, for ``ttl`` after the latest one or until an ``until`` event."""

    kind: Literal["flag"]
    ttl_ms: DurationMs | None = Field(None, alias="ttl")
    until: Match | None = None

    @property
    def ended_by(self) -> Match | None:
        """Return the ``until`` event."""
        return self.until


def _means(tag: FlagTag) -> str:
    until = f", or until {' or '.join(tag.until.event)}" if tag.until else ""
    lasts = f" for {spell_duration(tag.ttl_ms)} after the latest" if tag.ttl_ms else ""
    return f"true from an event on{lasts}{until}"


SPEC: Final[KindSpec[FlagTag, Flag]] = KindSpec(
    model=FlagTag,
    holds=always(TRUE_OR_FALSE),
    means=_means,
    error=exact,
    state_bytes=(13, 22),
    examples=(
        "- {id: hot, kind: flag, event: product_viewed}",
        "- {id: hot, kind: flag, event: product_viewed, ttl: 2h}",
        "- {id: hot, kind: flag, event: product_viewed, until: {event: order_paid}}",
    ),
    make=lambda tag: Flag("b", tag.ttl_ms),
    take=untouched,
    idempotent=True,
)
