"""A tag rebuilt from history: the record that carries its cell, and when a state takes it.

A rebuilt cell covers a user's log up to an offset. It replaces the live cell only if the user
has no event between that offset and the record. So no event is lost or counted twice and a
replay decides the same; a record that comes too late changes nothing and is made again. Nobody
outside can send such a record: an event from a door has an offset in ``events.raw``.
"""

import base64
import binascii
from dataclasses import replace
from typing import Any, Final

import msgspec

from schemas.errors import ConfigInvalid
from schemas.events import Event
from schemas.tags import BACKFILLED, MadeTag, Tag
from streams.core.engine import Engine
from streams.core.ids import make_id
from streams.core.rulebook import Rulebook, tag_version
from streams.core.rules.evaluation import Effects
from streams.core.state.cells import Cell
from streams.core.state.user import State

ACCOUNT: Final = "siyu-tags"
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Any], strict=False).decode


def alone(rulebook: Rulebook, tag: Tag) -> Rulebook:
    """Return a rulebook of one tag and no rules; raises ``ConfigInvalid`` for a made tag."""
    if isinstance(tag, MadeTag):
        raise ConfigInvalid(
            "rulebook", f"{tag.id} is made of other tags", hint="rebuild those: it follows them"
        )
    return replace(rulebook, tags=(tag,), rules=(), versions={})


class Rebuilder:
    """Folds a user's history to a record of one tag."""

    def __init__(self, rulebook: Rulebook, tag: Tag, run: str) -> None:
        self._engine, self._tag = Engine(alone(rulebook, tag)), tag.id
        self._version, self._run = tag_version(tag), run

    def record(self, user: str, events: list[Event], upto: int, now_ms: int) -> Event:
        """Return the record of a user's history up to an offset of the user's partition."""
        state = self._engine.load(None)
        for event in events:
            try:
                self._engine.on_event(state, event)
            except Exception:  # noqa: BLE001, S112 - the worker has set it aside, too
                continue
        cell = self._engine.cell(state, self._tag)
        packed = b"" if cell is None else _pack(cell)
        return Event(
            message_id=f"tag-{make_id(self._tag, self._run, user, str(upto))}",
            type="track",
            event=BACKFILLED,
            user=user,
            source="server",
            door="native",
            account=ACCOUNT,
            timestamp_ms=now_ms,
            received_at_ms=now_ms,
            properties={
                "tag": self._tag,
                "version": self._version,
                "run": self._run,
                "upto": upto,
                "cell": base64.b64encode(packed).decode(),
            },
        )


def is_rebuilt(event: Event) -> bool:
    """Say whether an event is such a record and did not come through a door."""
    return event.event == BACKFILLED and event.raw_offset < 0


def apply_rebuilt(engine: Engine, state: State, event: Event, folded_to: int) -> Effects:
    """Apply a record to a state that has all events up to the offset ``folded_to`` in it."""
    properties = event.properties
    tag, upto = properties.get("tag"), properties.get("upto")
    if type(upto) is not int or folded_to > upto:
        return Effects()
    if not isinstance(tag, str) or engine.definition(tag) != properties.get("version"):
        return Effects()
    return engine.replace(state, event, tag, _cell(properties.get("cell")))


def _cell(text: object) -> Cell | None:
    try:
        packed = base64.b64decode(str(text), validate=True)
        return _unpack(packed) if packed else None
    except (binascii.Error, msgspec.MsgspecError) as broken:
        raise ValueError(f"the cell of a rebuilt tag cannot be read: {broken}") from broken
