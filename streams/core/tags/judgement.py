"""How far a tag of the engine may be from the same tag by SQL: what the audit judges by."""

import math
from dataclasses import dataclass
from typing import Any

from schemas.tags import EventTag
from streams.core.language.compile import equal


@dataclass(frozen=True, slots=True)
class Judgement:
    """``drift`` is more than the kind states; ``beyond``: here the kind promises nothing.

    ``want`` is what a report shows of the SQL's value, ``error`` the relative one of a sketch.
    """

    want: Any
    drift: bool = False
    beyond: bool = False
    error: float | None = None


def judge_exact(_tag: EventTag, have: object, want: object, _exact: str) -> Judgement:
    """Judge a kind that promises the very value."""
    return Judgement(want, drift=not same(have, want))


def same(have: object, want: object) -> bool:
    """Say whether two values are equal but for the last digits of fractions."""
    if isinstance(have, dict) and isinstance(want, dict):
        return have.keys() == want.keys() and all(same(have[key], want[key]) for key in have)
    if isinstance(have, float) and isinstance(want, int | float) and not isinstance(want, bool):
        return math.isclose(have, want, rel_tol=1e-12, abs_tol=1e-9)
    return have is want or equal(have, want)
