"""`per_key`: counts by value."""

from typing import Any, Final, Literal

from pydantic import Field

from schemas.authoring import EventPath
from schemas.tags import EventTag
from streams.core.tags.judgement import Judgement, judge_exact
from streams.core.tags.kind_spec import NUMBER, KindSpec, always
from streams.core.tags.kinds.per_key import PerKey


class PerKeyTag(EventTag):
    """Counts by ``value``, of the ``keys`` values that were seen last."""

    kind: Literal["per_key"]
    value: EventPath
    keys: int = Field(32, ge=1, le=64)


def _judge(tag: PerKeyTag, have: Any, want: Any, exact: str) -> Judgement:  # noqa: ANN401 - JSON
    if want and len(want) > tag.keys:
        return Judgement(want, beyond=True)
    return judge_exact(tag, have, want, exact)


SPEC: Final[KindSpec[PerKeyTag, PerKey]] = KindSpec(
    model=PerKeyTag,
    holds=always(None),
    each_part=NUMBER,
    means=lambda tag: f"counts by {tag.value}, of the {tag.keys} seen last",
    error=lambda tag: f"exact while a user has no more than {tag.keys} different values",
    state_bytes=(20, 4800),
    examples=('- {id: by_sku, kind: per_key, event: "*", value: properties.sku}',),
    make=lambda tag: PerKey(tag.keys),
    judge=_judge,
)
