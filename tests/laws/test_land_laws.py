from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Event, encode_event
from sinks.clickhouse.rows import build_parts, span_of

MONTH_MS = 31 * 86_400_000


@dataclass
class Logged:
    offset: int
    timestamp: int
    value: bytes | None


def _good(number: int) -> bytes:
    return encode_event(
        Event(
            message_id=f"m{number}",
            type="track",
            event="cart_added",
            user="user_id:u",
            source="app",
            door="segment",
            account="a",
            timestamp_ms=number,
            received_at_ms=number,
        )
    )


VALUES = st.one_of(st.none(), st.binary(max_size=40), st.integers(0, 10**12).map(_good))


@st.composite
def blocks(draw: st.DrawFn) -> list[Logged]:
    """Records as a reader of committed transactions sees them: offsets rise, with gaps."""
    gaps = draw(st.lists(st.integers(1, 5), min_size=1, max_size=30))
    offset, records = draw(st.integers(0, 2**40)), []
    for gap in gaps:
        offset += gap
        logged_ms = draw(st.integers(-1, 40)) * MONTH_MS
        records.append(Logged(offset, logged_ms, draw(VALUES)))
    return records


@given(blocks())
def test_each_offset_is_in_exactly_one_part(records: list[Logged]) -> None:
    parts = build_parts(span_of("events", 0, records), records)
    landed = [offset for part in parts for offset in part.columns[-2]]
    assert sorted(landed) == [record.offset for record in records]


@given(blocks())
def test_a_rebuilt_range_makes_the_same_parts_under_the_same_tokens(records: list[Logged]) -> None:
    again = [Logged(r.offset, r.timestamp, r.value) for r in records]
    first = build_parts(span_of("events", 0, records), records)
    second = build_parts(span_of("events", 0, again), again)
    assert [(p.table.name, p.token, p.columns) for p in first] == [
        (p.table.name, p.token, p.columns) for p in second
    ]


@given(blocks(), st.data())
def test_other_records_never_share_a_token(records: list[Logged], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(records) - 1))
    other = list(records)
    other[at] = Logged(records[at].offset, records[at].timestamp, (records[at].value or b"") + b" ")
    before, after = span_of("events", 0, records), span_of("events", 0, other)
    assert before.token() != after.token()
    tokens = {part.token for part in build_parts(before, records)}
    assert tokens.isdisjoint(part.token for part in build_parts(after, other))


@given(blocks())
def test_all_columns_of_a_part_are_of_one_length(records: list[Logged]) -> None:
    for part in build_parts(span_of("events", 0, records), records):
        assert {len(column) for column in part.columns} == {len(part)}
        assert len(part.columns) == len(part.table.columns)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=600), st.booleans())
def test_a_block_with_a_fault_or_of_two_months_is_built_record_by_record_to_the_same_rows(
    numbers: list[int],
    apart: bool,  # noqa: FBT001 - hypothesis passes it
) -> None:
    good = [Logged(offset, 0, _good(number)) for offset, number in enumerate(numbers)]
    other = Logged(len(good), MONTH_MS, _good(0)) if apart else Logged(len(good), 0, b"?")
    span = span_of("events", 0, good)
    (short,) = build_parts(span, good)
    long, rest = build_parts(span, [*good, other])
    assert (long.table, long.token, long.columns) == (short.table, short.token, short.columns)
    assert list(rest.offsets) == [other.offset]
