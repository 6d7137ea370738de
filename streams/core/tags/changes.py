"""Changes of tags as they go out: one record for each event, or moment, that moved some."""

from collections.abc import Iterable

from schemas.touches import TagChange, TagChanges


def records(user: str, changes: Iterable[TagChange]) -> list[TagChanges]:
    """Return the records of a user's changes, in their order.

    A record names a tag once: what two steps of one cause did to it is told as one, and not
    at all where the second took back the first.
    """
    found: list[TagChanges] = []
    last: TagChanges | None = None
    for one in changes:
        if last is None or last.message_id != one.message_id or last.time_ms != one.time_ms:
            last = TagChanges(user=user, time_ms=one.time_ms, message_id=one.message_id, changes=[])
            found.append(last)
        last.changes.append((one.tag, one.before, one.after))
    for record in found:
        if len({tag for tag, _, _ in record.changes}) < len(record.changes):
            record.changes = _joined(record.changes)
    return [record for record in found if record.changes]


def _joined(changes: list[tuple[str, object, object]]) -> list[tuple[str, object, object]]:
    ends: dict[str, tuple[object, object]] = {}
    for tag, before, after in changes:
        ends[tag] = (ends[tag][0] if tag in ends else before, after)
    return [(tag, before, after) for tag, (before, after) in ends.items() if before != after]
