"""One file of the rulebook as authors write it, with the tags of all kinds."""

import sys
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from schemas.authoring import Authored, Id
from schemas.export import Named
from schemas.policies import Policies
from schemas.rules import Rule
from schemas.segments import Segment
from schemas.tags import Tag
from streams.core.tags.catalogue import SPECS
from streams.core.tags.kinds.value_tier_spec import Bounds

if TYPE_CHECKING:
    AnyTag = Tag
else:
    AnyTag = Annotated[Union[tuple(spec.model for spec in SPECS)], Field(discriminator="kind")]  # noqa: UP007 - of as many as there are kinds


class RulebookFile(Authored):
    """One YAML file of the rulebook: any of tags, segments, policies, rules, declares, bounds.

    ``declares`` names own events, or own properties of catalogued events, so that
    paths to them are not taken for typing errors.
    """

    tags: list[AnyTag] = Field(default_factory=list[AnyTag])
    segments: list[Segment] = Field(default_factory=list[Segment])
    policies: Policies | None = None
    rules: list[Rule] = Field(default_factory=list[Rule])
    declares: dict[str, list[str]] = Field(default_factory=dict)
    # Of tags with quantiles, by id: `siyu tags bounds` writes them.
    bounds: dict[Id, Bounds] = Field(default_factory=dict[str, Bounds])


def contracts() -> list[Named]:
    """Return the modules that hold what authors write of tags and rulebooks, for the export."""
    kinds = dict.fromkeys(spec.model.__module__ for spec in SPECS)
    return [("rules", sys.modules[__name__]), *(("tags", sys.modules[kind]) for kind in kinds)]
