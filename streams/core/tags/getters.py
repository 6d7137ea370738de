"""Functions that read for a tag: the value at a path, its weight, what the kind folds.

They run for each event of a tag, so they are compiled, and chosen once at load.
"""

from collections.abc import Mapping

from schemas.conditions import parse_ref
from schemas.events import Event
from schemas.tags import EventTag
from streams.core.language.compile import Getter, getter
from streams.core.tags.kind import Kind
from streams.core.tags.values import MAX_TEXT

# A value, and what its event weighs.
Weighed = tuple[object, float]


def at_path(path: str) -> Getter:
    """Return the function that reads the value at a path of an event."""
    return getter(parse_ref(path, (), tags=False))


def value_of(tag: EventTag) -> Getter:
    """Return the function that reads a tag's ``value``; true for a tag without that path."""
    path = getattr(tag, "value", None)
    return _true if path is None else at_path(path)


def weighed(path: str | None, weights: Mapping[str, float]) -> Getter:
    """Return the function that reads ``Weighed``: the value at a path, else 1, and its weight."""
    read = _unit if path is None else at_path(path)

    def weigh(event: Event) -> object:
        return read(event), weights.get(event.event, 1)

    return weigh


def accepted(_tag: EventTag, kind: Kind, value: Getter) -> Getter:
    """Return the function that takes of an event what the kind accepts."""
    accept = kind.accept

    def take(event: Event) -> object:
        return accept(value(event))

    return take


def accepted_text(_tag: EventTag, kind: Kind, value: Getter) -> Getter:
    """Return the same for a kind of plain values, most of them short texts."""
    accept = kind.accept

    def take(event: Event) -> object:
        raw = value(event)
        return raw if type(raw) is str and len(raw) <= MAX_TEXT else accept(raw)

    return take


def happened(_tag: EventTag, kind: Kind, _value: Getter) -> Getter:
    """Return the function that takes every event: the kind accepts the event itself."""
    return kind.accept


def untouched(_tag: EventTag, _kind: Kind, value: Getter) -> Getter:
    """Return the function that takes the value as it is: the kind accepts all."""
    return value


def _true(event: Event) -> object:  # noqa: ARG001 - a getter that needs no event
    return True


def _unit(event: Event) -> object:  # noqa: ARG001 - as above
    return 1
