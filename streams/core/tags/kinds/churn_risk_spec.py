"""`churn_risk`: how unusual a user's silence is, by the user's own rhythm."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.authoring import UNITS_MS, DurationMs
from schemas.tags import EventTag
from streams.core.tags.getters import happened
from streams.core.tags.kind_spec import NUMBER, KindSpec, always
from streams.core.tags.kinds.churn_risk import Churn


class ChurnRiskTag(EventTag):
    """``{level, risk}``: how unusual a user's silence is, by the rhythm of their own events.

    ``rhythm`` stands for the interval of who has none yet; ``middle`` and ``high`` are risks.
    """

    kind: Literal["churn_risk"]
    rhythm_ms: DurationMs = Field(60 * UNITS_MS["d"], alias="rhythm")
    middle: float = Field(0.5, gt=0, lt=1)
    high: float = Field(0.8, gt=0, lt=1)

    @model_validator(mode="after")
    def _rising_risk(self) -> Self:
        if self.high < self.middle:
            raise PydanticCustomError("falling", "high is not below middle")
        return self


def _means(tag: ChurnRiskTag) -> str:
    return (
        "how unusual the silence is by the user's own rhythm: "
        f"middle from {tag.middle:g}, high from {tag.high:g}"
    )


SPEC: Final[KindSpec[ChurnRiskTag, Churn]] = KindSpec(
    model=ChurnRiskTag,
    layer="business",
    holds=always(None),
    parts={"level": None, "risk": NUMBER},
    means=_means,
    error=lambda _tag: "exact by its formula (docs/tags.md); the latest 16 events count",
    state_bytes=(22, 150),
    examples=(
        '- {id: risk, kind: churn_risk, event: "*", rhythm: 2h}',
        "- {id: risk, kind: churn_risk, event: order_paid, rhythm: 5h, middle: 0.3, high: 0.9}",
    ),
    make=lambda tag: Churn(tag.rhythm_ms, tag.middle, tag.high),
    take=happened,
)
