from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from schemas.touches import TagChange
from streams.core.tags.provenance import last_changes, moved

TAGS = [f"tag_{i}" for i in range(6)]
MESSAGES = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda one: str(one).upper()),
    st.text(max_size=40),
    st.sampled_from(["", "u" * 17, "--------" * 4 + "----", str(UUID(int=7))]),
)
CHANGE = st.builds(
    TagChange,
    tag=st.sampled_from(TAGS),
    before=st.none(),
    after=st.just(1),
    time_ms=st.integers(0, 2**45),
    message_id=MESSAGES,
)


@given(st.lists(st.lists(CHANGE, max_size=8), max_size=12))
def test_each_tag_has_the_cause_of_its_last_change_whatever_came_before(
    batches: list[list[TagChange]],
) -> None:
    packed, expected = b"", dict[str, tuple[int, str]]()
    for batch in batches:
        packed = moved(packed, batch)
        expected |= {change.tag: (change.time_ms, change.message_id) for change in batch}
    assert last_changes(packed, TAGS) == expected


@given(st.lists(CHANGE, min_size=1, max_size=200))
def test_origins_grow_with_the_tags_and_not_with_the_events(changes: list[TagChange]) -> None:
    packed = b""
    for change in changes:
        packed = moved(packed, [change])
    assert len(packed) <= len(TAGS) * (16 + 4 * max(len(one.message_id) for one in changes) + 16)
