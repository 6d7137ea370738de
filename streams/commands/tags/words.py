"""A tag in words: what it says, of which events, how exact, what it costs, who reads it."""

from collections.abc import Iterator
from typing import Any, Final

from schemas.authoring import Condition, spell_duration
from schemas.tags import (
    ChurnRiskTag,
    ExprTag,
    FlagTag,
    ImportTag,
    StageTag,
    Tag,
    TopkTag,
    ValueTierTag,
    layer_of,
)
from streams.core.language.conditions import parse, refs
from streams.core.rulebook import Rulebook, tag_version
from streams.core.tags.exprs import expr_refs
from streams.core.tags.topk import most_values

_EXACT: Final = "exact"
_MEANS: Final = {
    "count": "how many events there were",
    "sum": "the sum of {value}",
    "avg": "the mean of {value}",
    "min": "the least {value}",
    "max": "the greatest {value}",
    "first": "{value} of the earliest event",
    "last": "{value} of the latest event",
    "distinct": "how many different {value} there were",
    "topk": "the {k} {value} with the most weight, heaviest first",
    "decay": "a score: each event adds its weight{times}, and it halves in {half_life}",
    "per_key": "counts by {value}, of the {keys} seen last",
    "rfm": "scores 1 to 5 of recency, frequency and {value}, and the segment's name",
    "channel": "{value} of the first and of the last event",
}
# What a packed cell takes, bytes: one event, and the most.
_BYTES: Final = {
    "count": (3, 12),
    "sum": (7, 12),
    "avg": (9, 20),
    "min": (7, 12),
    "max": (7, 12),
    "first": (20, 275),
    "last": (20, 275),
    "flag": (13, 22),
    "distinct": (9, 72),
    "topk": (27, 3400),
    "decay": (18, 170),
    "per_key": (20, 4800),
    "stage": (15, 25),
    "rfm": (21, 35),
    "channel": (30, 540),
    "expr": (4, 70),
    "value_tier": (8, 10),
    "import": (15, 275),
    "churn_risk": (22, 150),
}
_TILES_BYTES: Final = (16, 2300)
_ERRORS: Final = {
    "distinct": "exact up to 16, then a standard error of 13 %",
    "topk": "exact while a user has no more than {most} different values",
    "decay": "to 0.0001; what is 20 half-lives old is 0",
    "per_key": "exact while a user has no more than {keys} different values",
    "churn_risk": "exact by its formula (docs/tags.md); the latest 16 events count",
    "expr": "as the tags it reads",
    "value_tier": "as the tag it reads; by quantiles: as of the last `siyu tags bounds`",
}


def describe(tag: Tag, rulebook: Rulebook) -> dict[str, Any]:
    """Return what is known of a tag from its definition, as JSON has it."""
    window_ms = getattr(tag, "window_ms", None)
    least, most = _TILES_BYTES if window_ms else _BYTES[tag.kind]
    rules, tags = readers(tag.id, rulebook)
    return {
        "tag": tag.id,
        "kind": tag.kind,
        "layer": layer_of(tag),
        "description": tag.description,
        "means": _means(tag),
        "events": [] if isinstance(tag, ExprTag) else list(tag.event),
        "where": {} if isinstance(tag, ExprTag) else tag.where,
        "made_of": sorted({ref.path[0] for ref in expr_refs(tag, ())})
        if isinstance(tag, ExprTag)
        else [],
        "window": spell_duration(window_ms) if window_ms else None,
        "error": _error(tag, window_ms),
        "state_bytes": {"one_event": least, "at_most": most},
        "read_by": {"rules": rules, "tags": tags},
        "version": tag_version(tag),
    }


def readers(tag_id: str, rulebook: Rulebook) -> tuple[list[str], list[str]]:
    """Return the rules and the tags that read a tag."""
    rules = [rule.id for rule in rulebook.rules if tag_id in _tags_in(rule.audience)]
    rules += [
        rule.id
        for rule in rulebook.rules
        if rule.id not in rules and f"tag.{tag_id}" in set(_texts(rule.model_dump(mode="json")))
    ]
    tags = [
        tag.id
        for tag in rulebook.tags
        if isinstance(tag, ExprTag) and tag_id in {ref.path[0] for ref in expr_refs(tag, ())}
    ]
    return rules, tags


def _tags_in(condition: Condition) -> set[str]:
    return {ref.path[0] for ref in refs(parse(condition, (), tags=True)) if ref.root == "tag"}


def _texts(value: object) -> Iterator[str]:
    """Yield all texts and keys of a definition, paths cut to the tag they name."""
    if isinstance(value, str):
        yield ".".join(value.removeprefix("$").split(".")[:2])
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _means(tag: Tag) -> str:  # noqa: PLR0911 - one flat case a kind
    match tag:
        case ValueTierTag():
            if not tag.cases:
                return f"high, middle or low by the quantiles of {tag.of}: no bounds yet"
            high, middle = (next(iter(case.values()))[tag.of]["gte"] for case in tag.cases)
            return f"high from {high:g} of {tag.of} on, middle from {middle:g}, else low"
        case ExprTag():
            names = [name for case in tag.cases for name in case]
            choice = f"the first that holds of {', '.join(names)}, else {tag.otherwise}"
            return choice if names else "a number computed of tags"
        case FlagTag():
            until = f", or until {' or '.join(tag.until.event)}" if tag.until else ""
            lasting = f" for {spell_duration(tag.ttl_ms)} after the latest" if tag.ttl_ms else ""
            return f"true from an event on{lasting}{until}"
        case StageTag():
            names = [name for stage in tag.stages for name in stage]
            return f"the first whose ages hold of {', '.join(names)}, else {tag.otherwise}"
        case ImportTag():
            return "what `siyu tags import` said last"
        case ChurnRiskTag():
            return (
                "how unusual the silence is by the user's own rhythm: "
                f"middle from {tag.middle:g}, high from {tag.high:g}"
            )
    return _MEANS[tag.kind].format(
        value=getattr(tag, "value", None),
        k=getattr(tag, "k", 0),
        keys=getattr(tag, "keys", 0),
        half_life=spell_duration(getattr(tag, "half_life_ms", None) or 0),
        times=f" times {tag.value}" if tag.kind == "decay" and tag.value else "",
    )


def _error(tag: Tag, window_ms: int | None) -> str:
    if window_ms:
        tile_ms = -(-window_ms // 96)
        return f"at most {spell_duration(tile_ms)} (a 96th) longer at either end, never shorter"
    most = most_values(tag.k) if isinstance(tag, TopkTag) else 0
    return _ERRORS.get(tag.kind, _EXACT).format(most=most, keys=getattr(tag, "keys", 0))
