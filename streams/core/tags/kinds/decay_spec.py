"""`decay`: a score that halves in every half-life."""

from typing import Any, Final, Literal

from pydantic import Field

from schemas.authoring import DurationMs, EventPath, spell_duration
from schemas.tags import EventTag, Weights
from streams.core.tags.getters import weighed
from streams.core.tags.judgement import Judgement
from streams.core.tags.kind_spec import NUMBER, KindSpec, always
from streams.core.tags.kinds.decay import Decay


class DecayTag(EventTag):
    """A score that halves in ``half_life``: each event adds its weight, times ``value`` if set."""

    kind: Literal["decay"]
    value: EventPath | None = None
    weights: Weights = Field(default_factory=dict)
    half_life_ms: DurationMs = Field(alias="half_life")


def _means(tag: DecayTag) -> str:
    times = f" times {tag.value}" if tag.value else ""
    return f"a score: each event adds its weight{times}, and it halves in " + spell_duration(
        tag.half_life_ms
    )


def _judge(_tag: DecayTag, have: Any, want: Any, exact: str) -> Judgement:  # noqa: ANN401 - JSON
    # To a ten-thousandth for each event, and what 20 half-lives leave of it.
    slack = 2e-4 * (1 + int(exact or 0)) + 1e-5 * abs(want or 0)
    return Judgement(want, drift=abs((have or 0) - (want or 0)) > slack)


SPEC: Final[KindSpec[DecayTag, Decay]] = KindSpec(
    model=DecayTag,
    holds=always(NUMBER),
    means=_means,
    error=lambda _tag: "to 0.0001; what is 20 half-lives old is 0",
    state_bytes=(18, 170),
    examples=(
        '- {id: heat, kind: decay, event: "*", weights: {order_paid: 2.5}, half_life: 30m}',
        "- {id: spend, kind: decay, event: order_paid, value: properties.amount, half_life: 1h}",
    ),
    make=lambda tag: Decay(tag.half_life_ms),
    value=lambda tag: weighed(tag.value, tag.weights),
    judge=_judge,
)
