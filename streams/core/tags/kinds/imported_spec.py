"""`import`: a value from outside, which `siyu tags import` says."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.authoring import EventNames
from schemas.tags import IMPORTED, EventTag
from streams.core.tags.kind_spec import KindSpec, always, exact
from streams.core.tags.kinds.imported import Imported, imported


class ImportTag(EventTag):
    """What `siyu tags import` said last, by its time: a value from outside, or nothing."""

    event: EventNames = Field(default_factory=lambda: [IMPORTED])
    kind: Literal["import"]

    @model_validator(mode="after")
    def _only_imports(self) -> Self:
        if self.event != [IMPORTED]:
            raise PydanticCustomError("import_event", "an import tag has no event of its own")
        return self


SPEC: Final[KindSpec[ImportTag, Imported]] = KindSpec(
    model=ImportTag,
    layer="business",
    holds=always(None),
    means=lambda _tag: "what `siyu tags import` said last",
    error=exact,
    state_bytes=(15, 275),
    examples=("- {id: vip, kind: import}",),
    make=lambda _tag: Imported(),
    value=lambda tag: imported(tag.id),
    idempotent=True,
)
