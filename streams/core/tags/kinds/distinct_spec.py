"""`distinct`: how many different values there were."""

from typing import Any, Final, Literal

from schemas.authoring import EventPath
from schemas.tags import EventTag
from streams.core.tags.judgement import Judgement, judge_exact
from streams.core.tags.kind_spec import NUMBER, KindSpec, always
from streams.core.tags.kinds.distinct import Distinct
from streams.core.tags.sketch import MAX_HASHES

SIGMA: Final = 0.13
# Of 10,000 users none is further off than this by chance.
_SIGMAS: Final = 5


class DistinctTag(EventTag):
    """How many different ``value`` there were: exact up to 16, then within 13 % (one sigma)."""

    kind: Literal["distinct"]
    value: EventPath


def _judge(tag: DistinctTag, have: Any, want: Any, exact: str) -> Judgement:  # noqa: ANN401 - JSON
    if not want or want <= MAX_HASHES:
        return judge_exact(tag, have, want, exact)
    error = abs((have or 0) - want) / want
    return Judgement(want, drift=error > _SIGMAS * SIGMA, error=error)


SPEC: Final[KindSpec[DistinctTag, Distinct]] = KindSpec(
    model=DistinctTag,
    holds=always(NUMBER),
    means=lambda tag: f"how many different {tag.value} there were",
    error=lambda _tag: "exact up to 16, then a standard error of 13 %",
    state_bytes=(9, 72),
    examples=(
        '- {id: skus, kind: distinct, event: "*", value: properties.sku}',
        '- {id: amounts, kind: distinct, event: "*", value: properties.amount}',
    ),
    make=lambda _tag: Distinct(),
    take=lambda _tag, kind, value: kind.taker(value),
    judge=_judge,
    idempotent=True,
)
