from dataclasses import dataclass
from typing import Any

import pytest
from clickhouse_driver import errors as ch

from schemas.errors import ConfigInvalid, SinkUnavailable
from schemas.events import Event, encode_event
from schemas.touches import TagChanges, encode
from sinks.clickhouse.client import RowsRefused, as_ours, connect, database_of
from sinks.clickhouse.migrate import statements
from sinks.clickhouse.plan import from_metadata, plan_of, to_metadata
from sinks.clickhouse.query import describe, names
from sinks.clickhouse.rows import Part, build_parts, span_of
from sinks.clickhouse.tables import ALL, PROVENANCE

MARCH_MS = 1_772_323_200_000  # 2026-03-01T00:00Z


@dataclass
class Logged:
    offset: int
    value: bytes | None
    timestamp: int = MARCH_MS


def _event(**fields: Any) -> bytes:  # noqa: ANN401 - any field of an event
    known: dict[str, Any] = {
        "message_id": "m",
        "type": "track",
        "event": "cart_added",
        "user": "user_id:u",
        "source": "app",
        "door": "segment",
        "account": "shop",
        "timestamp_ms": 1,
        "received_at_ms": 2,
    }
    return encode_event(Event(**known | fields))


def _parts(*records: Logged, topic: str = "events") -> list[Part]:
    return build_parts(span_of(topic, 3, records), records)


def _column(part: Part, name: str) -> list[object]:
    return list(part.columns[part.table.columns.index(name)])


def test_a_row_carries_where_it_came_from() -> None:
    (part,) = _parts(Logged(7, _event()), Logged(9, _event()))
    assert [_column(part, name) for name in PROVENANCE] == [[3, 3], [7, 9], [MARCH_MS, MARCH_MS]]


def test_json_fields_go_through_as_they_are_on_the_wire() -> None:
    (part,) = _parts(Logged(1, _event(properties={"sku": "茶", "n": [1, {"a": None}]})))
    assert _column(part, "properties") == ['{"sku":"茶","n":[1,{"a":null}]}'.encode()]
    assert _column(part, "traits") == [b"{}"]


def test_an_absent_identifier_is_an_empty_text_and_an_absent_time_is_null() -> None:
    (part,) = _parts(Logged(1, _event()))
    assert _column(part, "user_id") == [""]
    assert _column(part, "sent_at") == [None]


def test_a_tag_without_a_value_is_json_null() -> None:
    change = TagChanges(user="u", changes=[("t", None, {"v": 1})], time_ms=1)
    (part,) = _parts(Logged(1, encode(change)), topic="tags")
    assert _column(part, "before") == [b"null"]
    assert _column(part, "after") == [b'{"v":1}']


def _moved(*tags: str) -> bytes:
    return encode(TagChanges(user="u", changes=[(tag, 1, 2) for tag in tags], time_ms=1))


def test_each_tag_that_an_event_moved_is_a_row_at_the_records_place() -> None:
    (part,) = _parts(Logged(1, _moved("a", "b")), Logged(4, _moved("a")), topic="tags")
    assert _column(part, "tag") == ["a", "b", "a"]
    assert _column(part, "_offset") == [1, 1, 4]
    assert _column(part, "_logged_at") == [MARCH_MS] * 3
    assert len(part) == 3


@pytest.mark.parametrize("value", [_moved(), _moved("a", "a"), _moved("a").replace(b"1", b"1e999")])
def test_a_record_of_tags_is_wholly_rows_or_wholly_a_reject(value: bytes) -> None:
    rows, rejects = _parts(Logged(1, _moved("a", "b")), Logged(2, value), topic="tags")
    assert _column(rows, "_offset") == [1, 1]
    assert _column(rejects, "_offset") == [2]
    assert _column(rejects, "_topic") == ["tags"]
    assert _column(rejects, "body") == [value]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"[" * 100_000,
        b"{}",
        _event(timestamp_ms=-2_208_988_800_001),
        _event(timestamp_ms=10_413_792_000_000),
        _event(raw_offset=2**63 - 1).replace(str(2**63 - 1).encode(), b"9223372036854775808"),
        _event(raw_partition=2**31),
        _event().replace(b'"u"', b'"\\ud800"').replace(b"cart_added", b"\\ud800"),
    ],
)
def test_what_cannot_be_a_row_is_a_reject_and_its_neighbours_are_rows(value: bytes | None) -> None:
    rows, rejects = _parts(Logged(1, _event()), Logged(2, value), Logged(3, _event()))
    assert (rows.table.name, _column(rows, "_offset")) == ("events", [1, 3])
    assert (rejects.table.name, _column(rejects, "_offset")) == ("rejects", [2])
    assert _column(rejects, "stage") == ["land"]
    assert _column(rejects, "_topic") == ["events"]
    assert _column(rejects, "body") == [value or b""]


def test_a_part_never_spans_two_months() -> None:
    parts = _parts(Logged(1, _event(), MARCH_MS - 1), Logged(2, _event()), Logged(3, b"no"))
    assert [(part.table.name, _column(part, "_offset")) for part in parts] == [
        ("events", [1]),
        ("events", [2]),
        ("rejects", [3]),
    ]
    assert len({part.token for part in parts}) == 3


@pytest.mark.parametrize("wild_ms", [-1, -(2**62), 2**62])
def test_a_wild_record_time_stays_inside_what_the_column_holds(wild_ms: int) -> None:
    (part,) = _parts(Logged(1, _event(), wild_ms))
    (logged_ms,) = _column(part, "_logged_at")
    assert isinstance(logged_ms, int)
    assert 0 <= logged_ms < 10_413_792_000_000


def test_the_token_tells_a_remade_topic_from_its_predecessor() -> None:
    before, after = (
        span_of("events", 0, [Logged(0, value)]) for value in (_event(), _event(event="x"))
    )
    assert before.token() != after.token()


def test_a_plan_survives_the_metadata_of_a_commit() -> None:
    span = span_of("events", 0, [Logged(5, _event()), Logged(8, _event())])
    plan = plan_of(span, 1, careful=True)
    assert from_metadata(to_metadata(plan)) == plan
    assert plan.matches(span)
    assert not plan.matches(span_of("events", 0, [Logged(5, _event())]))
    assert len(to_metadata(plan)) < 4096  # what a broker takes as metadata by default


@pytest.mark.parametrize("foreign", [None, "", "x", "{}", '{"last":"1"}'])
def test_the_metadata_of_another_tool_is_no_plan(foreign: str | None) -> None:
    assert from_metadata(foreign) is None


def test_every_table_ends_with_its_provenance() -> None:
    assert all(table.columns[-3:] == PROVENANCE for table in ALL)


def test_statements_end_with_a_semicolon_at_the_end_of_a_line() -> None:
    text = (
        "-- head\n\nCREATE x\n(\n  a String COMMENT 'a; b' -- c\n);\n\n-- more\nSELECT 1;\nSELECT 2"
    )
    assert list(statements(text)) == [
        "CREATE x\n(\n  a String COMMENT 'a; b' -- c\n)",
        "SELECT 1",
        "SELECT 2",
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ch.ServerException("DB::Exception: no", 241), SinkUnavailable),
        (ch.ServerException("DB::Exception: no", 60), SinkUnavailable),
        (ch.ServerException("DB::Exception: no", 407), RowsRefused),
        (ch.NetworkError("gone"), SinkUnavailable),
        (ch.SocketTimeoutError("late"), SinkUnavailable),
        (EOFError("end"), SinkUnavailable),
        (ConnectionResetError("reset"), SinkUnavailable),
        (ch.TypeMismatchError("col"), RowsRefused),
    ],
)
def test_an_error_says_whether_to_wait_or_to_set_aside(error: Exception, kind: type) -> None:
    assert type(as_ours(error, "events")) is kind


def test_a_fault_of_ours_is_not_taken_for_the_stores() -> None:
    assert as_ours(KeyError("x"), "events") is None


@pytest.mark.parametrize(
    "url", ["http://h:8123/siyu", "clickhouse://h/si;yu", "clickhouse://h/a-b"]
)
def test_a_wrong_address_is_told_before_it_is_used(url: str) -> None:
    with pytest.raises(ConfigInvalid, match="SIYU_CLICKHOUSE"):
        connect(url)


def test_the_database_is_the_path_of_the_address() -> None:
    assert database_of("clickhouse://u:p@h:9000/siyu?secure=1") == "siyu"
    assert database_of("clickhouse://h") == "default"


@pytest.mark.parametrize("name", names())
def test_each_question_says_what_it_answers_and_declares_what_it_uses(name: str) -> None:
    question = describe(name)
    assert question.answers.endswith(".")
    for param in question.params:
        assert f"{{{param.name}:{param.type}}}" in question.sql
        assert param.meaning


def test_an_unknown_question_names_the_nearest() -> None:
    with pytest.raises(ConfigInvalid, match="did you mean funnel"):
        describe("funel")
