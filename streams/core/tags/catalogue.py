"""The catalogue of kinds: all that there are, and what each says of a tag."""

from typing import Any, Final

from schemas.tags import EventTag, Layer, Tag
from streams.core.language.compile import Getter
from streams.core.tags.kind import Kind
from streams.core.tags.kind_spec import KindSpec, MadeSpec, Spec
from streams.core.tags.kinds import (
    aggregate_spec,
    channel_spec,
    churn_risk_spec,
    decay_spec,
    distinct_spec,
    expr_spec,
    flag_spec,
    imported_spec,
    per_key_spec,
    pick_spec,
    rfm_spec,
    stage_spec,
    topk_spec,
    totals_spec,
    value_tier_spec,
)

# In the order in which authors read of them.
SPECS: Final[tuple[KindSpec[Any, Any] | MadeSpec[Any], ...]] = (
    totals_spec.COUNT_SPEC,
    totals_spec.SUM_SPEC,
    aggregate_spec.AVG_SPEC,
    aggregate_spec.MIN_SPEC,
    aggregate_spec.MAX_SPEC,
    pick_spec.FIRST_SPEC,
    pick_spec.LAST_SPEC,
    flag_spec.SPEC,
    distinct_spec.SPEC,
    topk_spec.SPEC,
    decay_spec.SPEC,
    per_key_spec.SPEC,
    stage_spec.SPEC,
    rfm_spec.SPEC,
    channel_spec.SPEC,
    expr_spec.SPEC,
    imported_spec.SPEC,
    value_tier_spec.SPEC,
    churn_risk_spec.SPEC,
)
KINDS: Final = tuple(spec.kind for spec in SPECS)
_OF_KIND: Final[dict[str, Any]] = {spec.kind: spec for spec in SPECS}


def spec_of(tag: Tag) -> Spec[Any]:
    """Return what a tag's kind says of itself."""
    spec: Spec[Any] = _OF_KIND[tag.kind]
    return spec


def event_spec_of(tag: EventTag) -> KindSpec[Any, Any]:
    """Return the same of a tag of events."""
    spec: KindSpec[Any, Any] = _OF_KIND[tag.kind]
    return spec


def make_kind(tag: EventTag) -> Kind:
    """Return how a tag's kind lives."""
    kind: Kind = event_spec_of(tag).make(tag)
    return kind


def make_value(tag: EventTag) -> Getter:
    """Return what reads of an event that which the kind's ``accept`` takes."""
    return event_spec_of(tag).value(tag)


def make_take(tag: EventTag, kind: Kind) -> Getter:
    """Return what of an event the kind folds, ``None`` where there is nothing."""
    spec = event_spec_of(tag)
    return spec.take(tag, kind, spec.value(tag))


def layer_of(tag: Tag) -> Layer:
    """Return the layer that a tag is marked with, else that of what it reads or of its kind."""
    if tag.layer is not None:
        return tag.layer
    return "channel" if getattr(tag, "value", None) == "context.channel" else spec_of(tag).layer
