"""`siyu tags explain TAG --user U`: what a user's tag is now, and of which events it is made.

The events come from ClickHouse in log order and are folded by the engine of production, on
the clock of the moment asked about; beside it stands what was last written.
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from schemas.conditions import Condition
from schemas.events import Event
from schemas.identities import KINDS
from schemas.settings import Settings
from schemas.tags import SILENT, MadeTag, Tag
from sinks.clickhouse.history import History, ask
from streams.core.engine import Engine
from streams.core.event_time import event_time_ms
from streams.core.language.compile import predicate
from streams.core.rulebook import Rulebook
from streams.core.tags.catalogue import make_kind, make_value
from streams.core.tags.exprs import expr_refs
from streams.core.tags.windows import Window

_WRITTEN: Final = """
SELECT after, toUnixTimestamp64Milli(time), message_id FROM tag_changes
WHERE user = {user:String} AND tag = {tag:String} ORDER BY _offset DESC LIMIT 1
"""


def explain_user(
    settings: Settings, rulebook: Rulebook, tag: Tag, user: str, *, now_ms: int, limit: int
) -> dict[str, Any]:
    """Return value, last written value and events, the newest first; see ``Counted``."""
    name = canonical(user)
    events = History(settings.clickhouse, now_ms + 1).of_user(name)
    engine, state = Engine(rulebook), None
    for event in events:
        state = engine.load(None) if state is None else state
        engine.on_event(state, event)
    counted = [
        counted_event
        for event in events
        for part in parts_of(tag, rulebook)
        if (counted_event := _counted(part, event, now_ms)) is not None
    ]
    counted.sort(key=lambda event: str(event["time"]), reverse=True)
    written = ask(settings.clickhouse, _WRITTEN, user=name, tag=tag.id)
    return {
        "user": name,
        "at": _time(now_ms),
        "value": None if state is None else engine.read_tag(state, tag.id, now_ms),
        "written": [
            {"value": msgspec.json.decode(after), "since": _time(time_ms), "message_id": message}
            for after, time_ms, message in written
        ],
        "events_of_user": len(events),
        "events_that_count": len(counted),
        "events": counted[:limit],
    }


def canonical(user: str) -> str:
    """Return a user as it is spelled in the log; a bare name is a ``user_id``."""
    return user if user.partition(":")[0] in KINDS and ":" in user else f"user_id:{user}"


def parts_of(tag: Tag, rulebook: Rulebook) -> list[Tag]:
    """Return the tags of events that a tag is made of: itself, or what an expr reads."""
    if not isinstance(tag, MadeTag):
        return [tag]
    by_id = {one.id: one for one in rulebook.tags}
    names = dict.fromkeys(ref.path[0] for ref in expr_refs(tag))
    return [part for name in names for part in parts_of(by_id[name], rulebook)]


def _counted(tag: Tag, event: Event, now_ms: int) -> dict[str, Any] | None:
    """Return what a tag takes of an event; ``None`` if the event does not count at this time."""
    if isinstance(tag, MadeTag):
        return None
    at_ms, window_ms = event_time_ms(event), getattr(tag, "window_ms", None)
    if window_ms and at_ms <= now_ms - window_ms - Window(window_ms).tile_ms:
        return None
    value: object = None
    if _matches(tag.event, tag.where, event):
        value = make_value(tag)(event)
        value = value if make_kind(tag).accept(value) is not None else None
    until = tag.ended_by
    if until is not None and _matches(until.event, until.where, event):
        value = False
    if value is None:
        return None
    return {
        "tag": tag.id,
        "time": _time(at_ms),
        "event": event.event,
        "takes": value,
        "message_id": event.message_id,
    }


def _matches(names: list[str], where: Condition, event: Event) -> bool:
    if event.event not in names and ("*" not in names or event.event in SILENT):
        return False
    holds = predicate(where.node)
    return holds is None or holds(event)


def _time(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")
