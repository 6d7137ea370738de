"""Changes of tags as they go out: one record for each event, or moment, that moved some."""

from collections.abc import Iterable

from schemas.touches import TagChange, TagChanges


def records(user: str, changes: Iterable[TagChange]) -> list[TagChanges]:
    """Return the records of a user's changes, in their order.

    A record names a tag once: what two steps of one cause did to it is one change, and not
    at all where the second took back the first.
    """
    joined: list[TagChanges] = []
    last: TagChanges | None = None
    for change in changes:
        if last is None or last.message_id != change.message_id or last.time_ms != change.time_ms:
            last = TagChanges(
                user=user, time_ms=change.time_ms, message_id=change.message_id, changes=[]
            )
            joined.append(last)
        last.changes.append((change.tag, change.before, change.after))
    for record in joined:
        if len({tag for tag, _, _ in record.changes}) < len(record.changes):
            record.changes = _joined(record.changes)
    return [record for record in joined if record.changes]


def _joined(changes: list[tuple[str, object, object]]) -> list[tuple[str, object, object]]:
    ends: dict[str, tuple[object, object]] = {}
    for tag, before, after in changes:
        ends[tag] = (ends[tag][0] if tag in ends else before, after)
    return [(tag, before, after) for tag, (before, after) in ends.items() if before != after]
