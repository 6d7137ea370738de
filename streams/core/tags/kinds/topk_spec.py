"""`topk`: the values with the most weight, a user's favourites."""

from typing import Any, Final, Literal

from pydantic import Field

from schemas.authoring import DurationMs, EventPath
from schemas.tags import EventTag, Weights
from streams.core.language.compile import Getter
from streams.core.tags.getters import at_path, weighed
from streams.core.tags.judgement import Judgement
from streams.core.tags.kind_spec import LIST, KindSpec, always
from streams.core.tags.kinds.topk import TopK, most_values

# Of nearly equal weights either may lead: they are kept as whole thousandths.
_CLOSE: Final = 0.01


class TopkTag(EventTag):
    """The ``k`` values with the most weight, the heaviest first; weight halves in ``half_life``.

    An event weighs 1, or what ``weights`` says for its name.
    """

    kind: Literal["topk"]
    value: EventPath
    k: int = Field(3, ge=1, le=10)
    weights: Weights = Field(default_factory=dict)
    half_life_ms: DurationMs | None = Field(None, alias="half_life")


def _take(tag: TopkTag, kind: TopK, _value: Getter) -> Getter:
    return kind.taker(at_path(tag.value), tag.weights)


def _judge(tag: TopkTag, have: list[str] | None, want: Any, _exact: str) -> Judgement:  # noqa: ANN401 - JSON
    pairs = want or []
    weights = {key: weight for key, weight in pairs if weight > 0}
    if len(weights) > most_values(tag.k):
        return Judgement(pairs, beyond=True)
    best = sorted(weights.values(), reverse=True)[: tag.k]
    weighed = [weights.get(key, 0.0) for key in have or []]
    close = len(weighed) <= len(best) and all(
        weight >= wanted * (1 - _CLOSE) for weight, wanted in zip(weighed, best, strict=False)
    )
    # What is missing must have faded.
    drift = not close or any(weight > best[0] * 1e-5 for weight in best[len(weighed) :])
    return Judgement(pairs[: tag.k], drift=drift)


SPEC: Final[KindSpec[TopkTag, TopK]] = KindSpec(
    model=TopkTag,
    holds=always(LIST),
    means=lambda tag: f"the {tag.k} {tag.value} with the most weight, heaviest first",
    error=lambda tag: f"exact while a user has no more than {most_values(tag.k)} different values",
    state_bytes=(27, 3400),
    examples=(
        (
            '- {id: fav, kind: topk, event: "*", value: properties.sku, k: 2,'
            " weights: {order_paid: 5}}"
        ),
        '- {id: fav, kind: topk, event: "*", value: properties.sku, k: 2, half_life: 10m}',
    ),
    make=lambda tag: TopK(tag.k, tag.half_life_ms or 0),
    value=lambda tag: weighed(tag.value, tag.weights),
    take=_take,
    judge=_judge,
)
