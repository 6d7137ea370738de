"""Segments as authors write them: who is in, by a condition over tags."""

from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.authoring import Authored
from schemas.conditions import Asking, Audience, Condition
from schemas.tags import MadeTag

PREFIX: Final = "segment_"
SegmentId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,54}$")]


class Segment(Authored):
    """The users for whom ``where`` holds; it reads tags (``tag.NAME``), other segments too."""

    id: SegmentId
    where: Annotated[Audience, Asking]
    description: str = ""

    def tag(self) -> "SegmentTag":
        """Return the segment as the tag that the engine keeps of it."""
        return SegmentTag(
            id=PREFIX + self.id,
            kind="expr",
            cases=[{"member": self.where}],
            description=self.description,
            layer="business",
        )


class SegmentTag(MadeTag):
    """``segment_ID``: true for who is in the segment, missing for who is not."""

    kind: Literal["expr"]

    @property
    def where(self) -> Condition:
        """The segment's condition."""
        return self.cases[0]["member"]
