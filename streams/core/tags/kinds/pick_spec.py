"""`first` and `last`: the value of the earliest or of the latest event."""

from typing import Final, Literal

from schemas.authoring import EventPath
from schemas.tags import EventTag
from streams.core.tags.getters import accepted_text
from streams.core.tags.kind_spec import KindSpec, always, exact
from streams.core.tags.kinds.pick import Pick


class LastTag(EventTag):
    """``value`` of the latest event by event time; events without it do not count."""

    kind: Literal["last"]
    value: EventPath


class FirstTag(EventTag):
    """``value`` of the earliest event by event time; events without it do not count."""

    kind: Literal["first"]
    value: EventPath


FIRST_SPEC: Final[KindSpec[FirstTag, Pick]] = KindSpec(
    model=FirstTag,
    holds=always(None),
    means=lambda tag: f"{tag.value} of the earliest event",
    error=exact,
    state_bytes=(20, 275),
    examples=('- {id: first, kind: first, event: "*", value: properties.sku}',),
    make=lambda _tag: Pick("f", latest=False),
    take=accepted_text,
    idempotent=True,
)
LAST_SPEC: Final[KindSpec[LastTag, Pick]] = KindSpec(
    model=LastTag,
    holds=always(None),
    means=lambda tag: f"{tag.value} of the latest event",
    error=exact,
    state_bytes=(20, 275),
    examples=('- {id: last, kind: last, event: "*", value: properties.sku}',),
    make=lambda _tag: Pick("l", latest=True),
    take=accepted_text,
    idempotent=True,
)
