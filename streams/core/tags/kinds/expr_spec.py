"""`expr`: named cases by conditions over other tags, or a number computed of them."""

from typing import Final, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from schemas.segments import SegmentTag
from schemas.tags import MadeTag
from streams.core.tags.kind_spec import NUMBER, TRUE_OR_FALSE, Holds, MadeSpec


class ExprTag(MadeTag):
    """A value made of other tags: the first of ``cases`` that holds, or what ``compute`` gives."""

    kind: Literal["expr"]

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.cases) == (self.compute is not None):
            raise PydanticCustomError("one_form", "write exactly one of cases, compute")
        return self


def _names(tag: MadeTag) -> list[str]:
    return [name for case in tag.cases for name in case]


def _holds(tag: MadeTag) -> Holds:
    if isinstance(tag, SegmentTag):
        return TRUE_OR_FALSE
    names = (*_names(tag), *filter(None, [tag.otherwise]))
    return Holds("text", names) if names else NUMBER


def _means(tag: MadeTag) -> str:
    names = _names(tag)
    cases = f"the first that holds of {', '.join(names)}, else {tag.otherwise}"
    return cases if names else "a number computed of tags"


SPEC: Final[MadeSpec[ExprTag]] = MadeSpec(
    model=ExprTag,
    layer="business",
    holds=_holds,
    means=_means,
    error=lambda _tag: "as the tags it reads",
    state_bytes=(4, 70),
    examples=(
        """\
- {id: gmv, kind: sum, event: order_paid, value: properties.amount}
- {id: n, kind: count, event: "*"}
- {id: mean, kind: expr, compute: {divide: [tag.gmv, {add: [tag.n, 0]}]}}
""",
        """\
- {id: gmv, kind: sum, event: order_paid, value: properties.amount}
- {id: tier, kind: expr, cases: [{high: {tag.gmv: {gte: 1000}}}], else: low}
""",
    ),
)
