"""`channel`: where a user came from, at the first touch and at the last."""

from typing import Final, Literal

from pydantic import Field

from schemas.authoring import EventNames, EventPath
from schemas.tags import EventTag, any_event
from streams.core.tags.getters import accepted_text
from streams.core.tags.kind_spec import KindSpec, always, exact
from streams.core.tags.kinds.channel import FirstLast


class ChannelTag(EventTag):
    """The channel of the first and of the last touch, by event time: ``{first, last}``."""

    event: EventNames = Field(default_factory=any_event)
    kind: Literal["channel"]
    value: EventPath = "context.channel"


SPEC: Final[KindSpec[ChannelTag, FirstLast]] = KindSpec(
    model=ChannelTag,
    layer="channel",
    holds=always(None),
    parts={"first": None, "last": None},
    means=lambda tag: f"{tag.value} of the first and of the last event",
    error=exact,
    state_bytes=(30, 540),
    examples=("- {id: touch, kind: channel, value: properties.sku}",),
    make=lambda _tag: FirstLast(),
    take=accepted_text,
    idempotent=True,
)
