"""What a user's changes look like on topic `tags`."""

from typing import Any

from schemas.touches import TagChange, TagChanges, decode_tag_changes, encode
from streams.core.tags.changes import records


def change(tag: str, before: Any, after: Any, *, at: int = 1, by: str = "m1") -> TagChange:  # noqa: ANN401 - any JSON
    return TagChange(tag=tag, before=before, after=after, time_ms=at, message_id=by)


def test_all_that_one_event_moved_is_one_record() -> None:
    (record,) = records("u", [change("views", 1, 2), change("last", None, "a")])
    assert record == TagChanges(
        user="u", time_ms=1, message_id="m1", changes=[("views", 1, 2), ("last", None, "a")]
    )
    assert decode_tag_changes(encode(record)) == record


def test_what_time_moved_before_an_event_has_records_of_its_own() -> None:
    gone = [change("hot", "yes", None, at=at, by="") for at in (1, 2)]
    found = records("u", [*gone, change("views", 1, 2, at=2)])
    assert [(one.time_ms, one.message_id, one.changes) for one in found] == [
        (1, "", [("hot", "yes", None)]),
        (2, "", [("hot", "yes", None)]),
        (2, "m1", [("views", 1, 2)]),
    ]


def test_a_tag_stands_once_in_a_record_and_not_at_all_if_it_came_back() -> None:
    twice = [change("n", 1, 2), change("hot", None, "yes"), change("n", 2, 5)]
    assert [one.changes for one in records("u", twice)] == [[("n", 1, 5), ("hot", None, "yes")]]
    assert records("u", [change("n", 1, 2), change("n", 2, 1)]) == []
