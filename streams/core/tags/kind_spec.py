"""What a kind of tag is: its model, its value, its words and its cost, in one place.

One ``KindSpec`` a kind of events, one ``MadeSpec`` a kind that is made of other tags; the
catalogue lists them all. Beside it only the SQL of the audit distinguishes kinds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar, get_args

from schemas.tags import EventTag, Layer, MadeTag
from streams.core.language.compile import Getter
from streams.core.tags.getters import accepted, value_of
from streams.core.tags.judgement import Judgement, judge_exact
from streams.core.tags.kind import Kind

Type = Literal["number", "text", "true or false", "list"]


@dataclass(frozen=True, slots=True)
class Holds:
    """A type, and the only values if they are known."""

    type: Type
    values: tuple[str, ...] = ()


NUMBER: Final = Holds("number")
TRUE_OR_FALSE: Final = Holds("true or false")
LIST: Final = Holds("list")

T = TypeVar("T", bound=EventTag | MadeTag)
E = TypeVar("E", bound=EventTag)
M = TypeVar("M", bound=MadeTag)
K = TypeVar("K", bound=Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(Generic[T]):
    """What all kinds say of themselves.

    ``holds`` is what the whole value is, ``None`` if anything may be there; ``parts`` the same
    of each named part, ``each_part`` of each key where any may stand. ``means`` completes
    "the tag is ..."; ``error`` says how exact it is. ``state_bytes`` is what a packed cell
    takes of a tag without a window: one event, and the most, for texts in ASCII and what the
    model has by default. ``examples`` are YAML lists of tags of which the last is of this
    kind: the laws of kinds are tested on them, over four days of time.
    """

    model: type[T]
    layer: Layer = "behaviour"
    holds: Callable[[T], Holds | None]
    parts: Mapping[str, Holds | None] = field(default_factory=dict)
    each_part: Holds | None = None
    means: Callable[[T], str]
    error: Callable[[T], str]
    state_bytes: tuple[int, int]
    examples: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Return the kind's name, as authors write it."""
        (kind,) = get_args(self.model.model_fields["kind"].annotation)
        return str(kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSpec(Spec[E], Generic[E, K]):
    """A kind of events: ``make`` returns how a tag lives.

    ``value`` returns what reads of an event that which the kind accepts, ``take`` what is
    folded of it: the same as ``accept`` of the value, by whatever way is quickest.
    ``judge(tag, have, want, exact)`` compares a value with the one by SQL; ``exact`` is what
    the SQL adds to it. ``idempotent``: an event that came twice counts once.
    """

    make: Callable[[E], K]
    value: Callable[[E], Getter] = value_of
    take: Callable[[E, K, Getter], Getter] = accepted
    judge: Callable[[E, Any, Any, str], Judgement] = judge_exact
    idempotent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeSpec(Spec[M], Generic[M]):
    """A kind made of other tags: it runs by its model's ``cases`` or ``compute``."""


def always(holds: Holds | None) -> Callable[[EventTag | MadeTag], Holds | None]:
    """Return what says the same of all tags of a kind."""
    return lambda _tag: holds


def exact(_tag: EventTag) -> str:
    """Return how exact a kind is that errs in nothing."""
    return "exact"
