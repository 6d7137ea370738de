"""The audit's judgement: a tag as the engine reads it against the same tag by SQL.

``same`` is equal (for scores and sketches: within the error that docs/tags.md states),
``beyond`` is where a kind promises nothing (more keys than it keeps), ``drift`` is all else.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from schemas.tags import EventTag
from sinks.clickhouse.tag_sql import shown
from streams.core.tags.catalogue import event_spec_of
from streams.core.tags.judgement import same

_SHOWN: Final = 5


@dataclass(slots=True)
class Verdict:
    """What became of one tag; ``worst`` and ``squares`` are relative errors of sketches."""

    kind: str
    compared: int = 0
    set: int = 0
    drift: int = 0
    beyond: int = 0
    tile_differs: int = 0
    sketched: int = 0
    squares: float = 0.0
    worst: float = 0.0
    samples: list[dict[str, Any]] = field(default_factory=list)

    def note(self, user: str, engine: object, sql: object) -> None:
        """Note a drift, the first few with their values."""
        self.drift += 1
        if len(self.samples) < _SHOWN:
            self.samples.append({"user": user, "engine": engine, "sql": sql})

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        figures: dict[str, Any] = {
            "kind": self.kind,
            "compared": self.compared,
            "set": self.set,
            "drift": self.drift,
        }
        if self.beyond:
            figures["beyond_what_is_kept"] = self.beyond
        if self.tile_differs:
            figures["off_the_exact_window"] = self.tile_differs
        if self.sketched:
            rms = math.sqrt(self.squares / self.sketched)
            figures |= {"sketched": self.sketched, "rms_error": round(rms, 4)}
            figures["worst_error"] = round(self.worst, 4)
        return figures


def judge(verdict: Verdict, tag: EventTag, user: str, have: Any, want: Any, *, exact: str) -> None:  # noqa: ANN401 - JSON
    """Compare one user's tag; ``want`` is of ``shown``."""
    verdict.compared += 1
    verdict.set += have not in (None, False, 0)
    if getattr(tag, "window_ms", None) and exact:
        verdict.tile_differs += not same(want, shown(tag, msgspec.json.decode(exact)))
    judgement = event_spec_of(tag).judge(tag, have, want, exact)
    verdict.beyond += judgement.beyond
    if judgement.error is not None:
        verdict.sketched += 1
        verdict.squares += judgement.error**2
        verdict.worst = max(verdict.worst, judgement.error)
    if judgement.drift:
        verdict.note(user, have, judgement.want)
