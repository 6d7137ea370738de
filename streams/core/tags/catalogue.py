"""The catalogue of kinds: how each tag of the rulebook lives, and what it takes of an event."""

from schemas.conditions import parse_ref
from schemas.events import Event
from schemas.tags import (
    AvgTag,
    ChannelTag,
    ChurnRiskTag,
    CountTag,
    DecayTag,
    DistinctTag,
    EventTag,
    FirstTag,
    FlagTag,
    ImportTag,
    LastTag,
    MaxTag,
    MinTag,
    PerKeyTag,
    RfmTag,
    StageTag,
    SumTag,
    TopkTag,
)
from streams.core.language.compile import Getter, getter
from streams.core.tags.aggregates import AVG, MAX, MAX_KEY, MIN, Distinct, Lifelong, Sliding
from streams.core.tags.churn import Churn
from streams.core.tags.decay import Decay
from streams.core.tags.imported import Imported, imported
from streams.core.tags.keyed import FirstLast, PerKey
from streams.core.tags.kinds import COUNT, MAX_TEXT, SUM, Ever, Flag, Kind, Pick, Rolling
from streams.core.tags.sketch import hash_of
from streams.core.tags.stages import Rfm, Stage
from streams.core.tags.topk import TopK


def make_kind(tag: EventTag) -> Kind:  # noqa: C901, PLR0911, PLR0912 - one flat case a kind
    """Return how a tag's kind lives."""
    match tag:
        case CountTag():
            return Rolling("C", COUNT, tag.window_ms) if tag.window_ms else Ever("c", COUNT)
        case SumTag():
            return Rolling("S", SUM, tag.window_ms) if tag.window_ms else Ever("s", SUM)
        case LastTag():
            return Pick("l", latest=True)
        case FirstTag():
            return Pick("f", latest=False)
        case FlagTag():
            return Flag("b", tag.ttl_ms)
        case AvgTag() | MinTag() | MaxTag():
            return _aggregate(tag)
        case DistinctTag():
            return Distinct()
        case TopkTag():
            return TopK(tag.k, tag.half_life_ms or 0)
        case DecayTag():
            return Decay(tag.half_life_ms)
        case PerKeyTag():
            return PerKey(tag.keys)
        case StageTag():
            return Stage(tag)
        case RfmTag():
            return Rfm(tag)
        case ChannelTag():
            return FirstLast()
        case ImportTag():
            return Imported()
        case ChurnRiskTag():
            return Churn(tag)


def make_value(tag: EventTag) -> Getter:
    """Return what reads of an event that which the kind's ``accept`` takes."""
    if isinstance(tag, ImportTag):
        return imported(tag.id)
    path = getattr(tag, "value", None)
    value: Getter = _true if path is None else getter(parse_ref(path, (), tags=False))
    if isinstance(tag, TopkTag | DecayTag):
        weights, read = tag.weights, _one if path is None else value

        def weighted(event: Event) -> object:
            return read(event), weights.get(event.event, 1)

        return weighted
    return value


def make_take(tag: EventTag, kind: Kind) -> Getter:
    """Return what of an event the kind folds, ``None`` where there is nothing."""
    accept, value = kind.accept, make_value(tag)
    if isinstance(tag, TopkTag) and isinstance(kind, TopK):
        return kind.taker(getter(parse_ref(tag.value, (), tags=False)), tag.weights)
    if isinstance(tag, FlagTag):
        return value
    if isinstance(tag, CountTag | StageTag | ChurnRiskTag):
        return accept  # whatever the event holds

    def take(event: Event) -> object:
        return accept(value(event))

    def take_text(event: Event) -> object:
        found = value(event)
        return found if type(found) is str and len(found) <= MAX_TEXT else accept(found)

    def take_hash(event: Event) -> object:
        found = value(event)
        return hash_of(found) if type(found) is str and len(found) <= MAX_KEY else accept(found)

    if isinstance(tag, FirstTag | LastTag | ChannelTag):
        return take_text
    return take_hash if isinstance(tag, DistinctTag) else take


def _aggregate(tag: AvgTag | MinTag | MaxTag) -> Kind:
    code, aggregate = {"avg": ("a", AVG), "min": ("n", MIN), "max": ("x", MAX)}[tag.kind]
    if tag.window_ms:
        return Sliding(code.upper(), aggregate, tag.window_ms)
    return Lifelong(code, aggregate)


def _true(event: Event) -> object:  # noqa: ARG001 - a getter that needs no event
    return True


def _one(event: Event) -> object:  # noqa: ARG001 - as above
    return 1
