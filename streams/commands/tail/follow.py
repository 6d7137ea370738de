"""What a tail shows: which records are asked for, and what follows from them."""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from schemas.events import Event, decode_event
from schemas.rejects import Rejected, decode_rejected
from schemas.topics import DECISIONS, EVENTS, RECEIPTS, REJECTED, TAGS, TOUCHES
from schemas.touches import (
    Decision,
    Receipt,
    TagChanges,
    Touch,
    decode_decision,
    decode_receipt,
    decode_tag_changes,
    decode_touch,
)

DECODERS: Final[dict[str, Callable[[bytes], Any]]] = {
    EVENTS.name: decode_event,
    REJECTED.name: decode_rejected,
    TAGS.name: decode_tag_changes,
    DECISIONS.name: decode_decision,
    TOUCHES.name: decode_touch,
    RECEIPTS.name: decode_receipt,
}
_REMEMBERED: Final = 10_000
_BODY_SHOWN: Final = 2000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to show: of a user, of an event's name, only rejects; everything by default.

    ``user`` is canonical (``user_id:me``) or any identifier that an event carries.
    """

    user: str = ""
    event: str = ""
    rejected: bool = False


class Follower:
    """Tells of each record whether it is shown, and as what.

    With an event's name it also shows what came of those events: tags, decisions,
    touches and receipts, as far as the last ten thousand ids reach.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._messages, self._touches, self._users = _Recent(), _Recent(), _Recent()
        self._early_touches: dict[str, list[dict[str, Any]]] = {}

    def lines(self, topic: str, value: bytes, logged_ms: int) -> list[dict[str, Any]]:
        """Return what a record gives to show, as JSON has it; nothing if nobody asked for it."""
        try:
            record = DECODERS[topic](value)
        except msgspec.MsgspecError:
            return []
        lines = [{"topic": topic, "logged_at_ms": logged_ms, **line} for line in _lines_of(record)]
        if self._is_wanted(record):
            early = (
                self._early_touches.pop(record.touch_id, []) if isinstance(record, Decision) else []
            )
            return lines + early
        if isinstance(record, Touch) and record.user in self._users:
            # It goes out ahead of its decision's transaction, which says whose it is.
            self._early_touches.setdefault(_stem(record.touch_id), []).extend(lines)
            while len(self._early_touches) > _REMEMBERED:
                del self._early_touches[next(iter(self._early_touches))]
        return []

    def _is_wanted(self, record: Any) -> bool:  # noqa: ANN401 - one of six contracts
        wanted = self._wanted
        if isinstance(record, Rejected):
            return _reject_matches(record, wanted)
        if wanted.rejected:
            return False
        if isinstance(record, Event):
            return self._event_matches(record)
        if wanted.user and not self._is_user(record.user):
            return False
        return not wanted.event or self._follows(record)

    def _follows(self, record: TagChanges | Decision | Touch | Receipt) -> bool:
        """Tell whether a record comes of an event that was shown."""
        if isinstance(record, TagChanges):
            return record.message_id in self._messages
        if isinstance(record, Decision):
            if record.trigger not in self._messages:
                return False
            self._touches.add(record.touch_id)
            return True
        return _stem(record.touch_id) in self._touches

    def _event_matches(self, event: Event) -> bool:
        wanted = self._wanted
        if wanted.user and not (
            self._is_user(event.user) or wanted.user in event.identities.values()
        ):
            return False
        if wanted.event and event.event != wanted.event:
            return False
        self._users.add(event.user)
        self._messages.add(event.message_id)
        return True

    def _is_user(self, user: str) -> bool:
        wanted = self._wanted.user
        return wanted in (user, user.partition(":")[2]) or user in self._users


class _Recent:
    """The last ids that were seen."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, key: str) -> None:
        self._ids[key] = None
        self._ids.move_to_end(key)
        if len(self._ids) > _REMEMBERED:
            self._ids.popitem(last=False)

    def __contains__(self, key: str) -> bool:
        return key in self._ids


def _stem(touch_id: str) -> str:
    """Return the id that the decision names: the touches of later steps append -1, -2 to it."""
    return touch_id.partition("-")[0]


def _reject_matches(record: Rejected, wanted: Wanted) -> bool:
    """Look for the words in the bytes: what could not be read has no fields to compare."""
    user = wanted.user.partition(":")[2] or wanted.user
    return all(
        # As a whole word: the user `me` is not in every body that has a "name".
        re.search(rb"(?<!\w)" + re.escape(word.encode()) + rb"(?!\w)", record.body)
        for word in (user, wanted.event)
        if word
    )


def _lines_of(record: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - one of six contracts
    """Return what a record says: of tags a line for each that moved, of all else one."""
    line: dict[str, Any] = msgspec.to_builtins(record)
    if isinstance(record, Rejected):
        line["body"] = record.body[:_BODY_SHOWN].decode("utf-8", "backslashreplace")
    if isinstance(record, TagChanges):
        changes = line.pop("changes")
        return [
            line | {"tag": tag, "before": before, "after": after} for tag, before, after in changes
        ]
    return [line]


def headline(line: dict[str, Any]) -> tuple[str, str, str]:
    """Return (what it is, whom it is about, what it says) for a reader."""
    topic = line["topic"]
    if topic == EVENTS.name:
        marks = f" [{', '.join(line['marks'])}]" if line.get("marks") else ""
        return "event", line["user"], f"{line['event']} {line.get('properties', {})}{marks}"
    if topic == REJECTED.name:
        who = (line["envelope"] or {}).get("account", "")
        return "rejected", who, f"{line['stage']}/{line['reason']}: {line['detail']}"
    if topic == TAGS.name:
        return "tag", line["user"], f"{line['tag']}: {line['before']} → {line['after']}"
    if topic == DECISIONS.name:
        return "decision", line["user"], f"{line['rule']}: {line['outcome']} ({line['reason']})"
    if topic == TOUCHES.name:
        return "touch", line["user"], f"{line['rule']}: {line['template']} via {line['via']}"
    outcome = f"{line['status']} over {line['channel']} {line['code']}".rstrip()
    return "receipt", line["user"], f"{line['rule']}: {outcome}"
