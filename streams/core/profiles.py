"""Profiles: all tags that a user has at a time, each with the change behind it."""

from schemas.profiles import Profile, TagNow
from streams.core.engine import Engine
from streams.core.state.user import State
from streams.core.tags.catalogue import layer_of
from streams.core.tags.provenance import last_changes


def tags_now(engine: Engine, state: State, at_ms: int) -> dict[str, TagNow]:
    """Return the tags that have a value at a time."""
    values = engine.read_tags(state, at_ms)
    causes = last_changes(state.provenance, values)
    tags = {}
    for tag in engine.rulebook.tags:
        if tag.id in values:
            since_ms, message_id = causes.get(tag.id, (None, None))
            tags[tag.id] = TagNow(
                value=values[tag.id],
                layer=layer_of(tag),
                since_ms=since_ms,
                message_id=message_id,
            )
    return tags


def profile_of(engine: Engine, state: State, user: str, offset: int) -> Profile:
    """Return the record of a user's profile, right at the user's own clock."""
    at_ms = state.latest_ms
    return Profile(user=user, offset=offset, at_ms=at_ms, tags=tags_now(engine, state, at_ms))
