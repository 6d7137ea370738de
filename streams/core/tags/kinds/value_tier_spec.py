"""`value_tier`: high, middle or low by the number of another tag."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.authoring import Authored
from schemas.conditions import Condition, leaves
from schemas.tags import MadeTag
from streams.core.tags.kind_spec import Holds, MadeSpec, always


class Bounds(Authored):
    """From which value on a user is high or middle; ``at`` and ``users``: when, and of how many."""

    high: int | float
    middle: int | float
    at: str = ""
    users: int = 0

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if self.high < self.middle:
            raise PydanticCustomError("falling", "high is not below middle")
        return self


class Quantiles(Authored):
    """The share of users below each bound: 0.9 leaves the tenth with the most value."""

    high: float = Field(0.9, gt=0, lt=1)
    middle: float = Field(0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if self.high < self.middle:
            raise PydanticCustomError("falling", "high is not below middle")
        return self


class ValueTierTag(MadeTag):
    """``high``, ``middle`` or ``low`` by the number ``of`` another tag.

    Either with ``bounds``, or with ``quantiles``: then `siyu tags bounds` computes the bounds
    in ClickHouse and writes them to a file of the rulebook. Until then the tag is missing.
    """

    kind: Literal["value_tier"]
    of: Annotated[str, Field(pattern=r"^tag\.[a-z][a-z0-9_]*(\.[a-z_]+)?$")]
    bounds: Bounds | None = None
    quantiles: Quantiles | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_words(cls, raw: Any) -> Any:  # noqa: ANN401 - pydantic hands over what the file holds
        wrong = {"cases", "else", "compute"} & set(raw) if isinstance(raw, dict) else None
        if wrong:
            raise PydanticCustomError("one_form", "a value_tier has no {key}", {"key": min(wrong)})
        return raw

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.bounds is None) == (self.quantiles is None):
            raise PydanticCustomError("one_form", "write exactly one of bounds, quantiles")
        return self if self.bounds is None else self.bounded(self.bounds)

    def bounded(self, bounds: Bounds) -> Self:
        """Return the tag with these bounds."""
        steps = (("high", bounds.high), ("middle", bounds.middle))
        cases = [
            {name: Condition.parse({self.of: {"gte": bound}}, tags=True)} for name, bound in steps
        ]
        return self.model_copy(update={"cases": cases, "otherwise": "low"})


def _means(tag: ValueTierTag) -> str:
    if not tag.cases:
        return f"high, middle or low by the quantiles of {tag.of}: no bounds yet"
    cases = [condition for case in tag.cases for condition in case.values()]
    high, middle = (leaf.right for case in cases for leaf in leaves(case.node))
    return f"high from {high} of {tag.of} on, middle from {middle}, else low"


SPEC: Final[MadeSpec[ValueTierTag]] = MadeSpec(
    model=ValueTierTag,
    layer="business",
    holds=always(Holds("text", ("high", "middle", "low"))),
    means=_means,
    error=lambda _tag: "as the tag it reads; by quantiles: as of the last `siyu tags bounds`",
    state_bytes=(8, 10),
    examples=(
        """\
- {id: gmv, kind: sum, event: order_paid, value: properties.amount}
- {id: worth, kind: value_tier, of: tag.gmv, bounds: {high: 1000, middle: 100}}
""",
    ),
)
