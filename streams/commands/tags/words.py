"""A tag in words: what it says, of which events, how exact, what it costs, who reads it."""

from collections.abc import Iterator
from typing import Any, Final

from schemas.authoring import spell_duration
from schemas.conditions import Condition
from schemas.tags import MadeTag, Tag
from streams.core.rulebook import Rulebook, tag_version
from streams.core.tags.catalogue import layer_of, spec_of
from streams.core.tags.exprs import expr_refs
from streams.core.tags.windows import Window

# What a packed cell of a window takes, bytes: one event, and the most.
_TILES_BYTES: Final = (16, 2300)


def describe(tag: Tag, rulebook: Rulebook) -> dict[str, Any]:
    """Return what is known of a tag from its definition, as JSON has it."""
    spec, window_ms = spec_of(tag), getattr(tag, "window_ms", None)
    least, most = _TILES_BYTES if window_ms else spec.state_bytes
    rules, tags = readers(tag.id, rulebook)
    return {
        "tag": tag.id,
        "kind": tag.kind,
        "layer": layer_of(tag),
        "description": tag.description,
        "means": spec.means(tag),
        "events": [] if isinstance(tag, MadeTag) else list(tag.event),
        "where": {} if isinstance(tag, MadeTag) else tag.where.raw,
        "made_of": sorted({ref.path[0] for ref in expr_refs(tag)})
        if isinstance(tag, MadeTag)
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
        if isinstance(tag, MadeTag) and tag_id in {ref.path[0] for ref in expr_refs(tag)}
    ]
    return rules, tags


def _tags_in(condition: Condition) -> set[str]:
    return {ref.path[0] for ref in condition.refs() if ref.root == "tag"}


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


def _error(tag: Tag, window_ms: int | None) -> str:
    if window_ms:
        tile_ms = Window(window_ms).tile_ms
        return f"at most {spell_duration(tile_ms)} (a 96th) longer at either end, never shorter"
    return spec_of(tag).error(tag)
