"""The audit's judgement: a tag as the engine reads it against the same tag by SQL.

``same`` is equal (for scores and sketches: within the error that docs/tags.md states),
``beyond`` is where a kind promises nothing (more keys than it keeps), ``drift`` is all else.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from schemas.tags import DecayTag, DistinctTag, EventTag, PerKeyTag, RfmTag, StageTag, TopkTag
from streams.core.language.compile import equal
from streams.core.tags.kinds import MAX_TEXT, SCALE
from streams.core.tags.sketch import MAX_HASHES
from streams.core.tags.topk import most_values

SIGMA: Final = 0.13
# Of 10,000 users none is further off than this by chance.
_SIGMAS: Final = 5
_WEIGHTS: Final = 0.01
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


def shown(tag: EventTag, value: Any) -> Any:  # noqa: ANN401, C901, PLR0911 - JSON; a flat case a kind
    """Return what SQL gave in the form that the engine shows."""
    match tag.kind:
        case "sum" | "min" | "max":
            return None if value is None else _unscaled(int(value))
        case "avg":
            return _unscaled(round(int(value[0]) / int(value[1]))) if value else None
        case "first" | "last" | "import":
            return _plain(value)
        case "channel":
            return {"first": _plain(value[0]), "last": _plain(value[1])}
        case "flag":
            return bool(value)
        case "topk":
            return [_pair(one) for one in value]
        case "per_key":
            return {key: int(count) for key, count in map(_pair, value)} or None
        case "churn_risk":
            level, risk = _pair(value)
            return {"level": level, "risk": risk}
    if isinstance(tag, StageTag):
        return value or None
    if isinstance(tag, RfmTag):
        r, f, m = map(int, value)
        return {"r": r, "f": f, "m": m, "segment": _segment(tag, r, f, m)}
    return value


def judge(verdict: Verdict, tag: EventTag, user: str, have: Any, want: Any, *, exact: str) -> None:  # noqa: ANN401 - JSON
    """Compare one user's tag; ``want`` is of ``shown``."""
    verdict.compared += 1
    verdict.set += have not in (None, False, 0)
    if getattr(tag, "window_ms", None) and exact:
        true = shown(tag, msgspec.json.decode(exact))
        verdict.tile_differs += not _same(want, true)
    if isinstance(tag, TopkTag):
        _judge_topk(verdict, tag, user, have, want or [])
    elif isinstance(tag, PerKeyTag) and want and len(want) > tag.keys:
        verdict.beyond += 1
    elif isinstance(tag, DistinctTag) and want and want > MAX_HASHES:
        off = abs((have or 0) - want) / want
        verdict.sketched += 1
        verdict.squares += off * off
        verdict.worst = max(verdict.worst, off)
        if off > _SIGMAS * SIGMA:
            verdict.note(user, have, want)
    elif isinstance(tag, DecayTag):
        # To a ten-thousandth for each event, and what 20 half-lives leave of it.
        slack = 2e-4 * (1 + int(exact or 0)) + 1e-5 * abs(want or 0)
        if abs((have or 0) - (want or 0)) > slack:
            verdict.note(user, have, want)
    elif not _same(have, want):
        verdict.note(user, have, want)


def _judge_topk(
    verdict: Verdict, tag: TopkTag, user: str, have: list[str] | None, want: list[Any]
) -> None:
    weights = {key: weight for key, weight in want if weight > 0}
    if len(weights) > most_values(tag.k):
        verdict.beyond += 1
        return
    best = sorted(weights.values(), reverse=True)[: tag.k]
    kept = [weights.get(key, 0.0) for key in have or []]
    # Of nearly equal weights either may lead: they are kept as whole thousandths.
    close = len(kept) <= len(best) and all(
        weight >= wanted * (1 - _WEIGHTS) for weight, wanted in zip(kept, best, strict=False)
    )
    missing = best[len(kept) :]
    if not close or any(weight > best[0] * 1e-5 for weight in missing):
        verdict.note(user, have, want[: tag.k])


def _same(have: object, want: object) -> bool:
    if isinstance(have, dict) and isinstance(want, dict):
        return have.keys() == want.keys() and all(_same(have[key], want[key]) for key in have)
    if isinstance(have, float) and isinstance(want, int | float) and not isinstance(want, bool):
        return math.isclose(have, want, rel_tol=1e-12, abs_tol=1e-9)
    return have is want or equal(have, want)


def _unscaled(total: int) -> int | float:
    return total / SCALE if total % SCALE else total // SCALE


def _plain(text: str) -> Any:  # noqa: ANN401 - JSON
    value = msgspec.json.decode(text)
    return value[:MAX_TEXT] if isinstance(value, str) else value


def _pair(raw: Any) -> Any:  # noqa: ANN401 - ClickHouse may name the parts of a tuple
    return list(raw.values()) if isinstance(raw, dict) else raw


def _segment(tag: RfmTag, r: int, f: int, m: int) -> str:
    names = {(True, True): "value", (True, False): "develop", (False, True): "keep"}
    worth = "important" if m >= tag.high else "general"
    return f"{worth}_{names.get((r >= tag.high, f >= tag.high), 'retain')}"
