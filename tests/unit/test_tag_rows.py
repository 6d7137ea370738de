from pathlib import Path

import pytest

from schemas.errors import ConfigInvalid
from schemas.events import Event
from schemas.raw import Envelope, RawRecord
from streams.authoring.plan import shipped_plan
from streams.commands.tags.imports import item_of
from streams.commands.tags.rows import Bad, Row, of_file
from streams.core.intake.validate import Validator
from streams.core.tags.kinds.imported import imported

AT_MS = 1_772_416_800_000


def read(path: Path, text: str | bytes) -> list[Row | Bad]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [row for _, row in of_file(path)]


def test_a_csv_gives_a_row_for_each_line_and_a_reason_for_each_bad_one(tmp_path: Path) -> None:
    rows = read(
        tmp_path / "f.csv",
        "\ufeffuser,value,at\n"
        "u1,gold,2026-03-02T10:00:00+08:00\n"
        "unionid:x,12.5,1772416800\n"
        'u2,"a,b",1772416800000\n'
        "u3,,\n"
        "u4,007,\n"
        "u5,true,2026-03-02\n"
        "undefined,gold,\n"
        "u6\n"
        "u7,gold,yesterday\n"
        "u8,gold,1999-01-01\n"
        ",gold,\n",
    )
    good = [(row.user, row.value, row.at_ms) for row in rows if isinstance(row, Row)]
    assert good == [
        ("user_id:u1", "gold", AT_MS),
        ("unionid:x", 12.5, AT_MS),
        ("user_id:u2", "a,b", AT_MS),
        ("user_id:u3", None, None),
        ("user_id:u4", "007", None),
        ("user_id:u5", True, 1_772_409_600_000),
    ]
    bad = [(row.line, row.reason) for row in rows if isinstance(row, Bad)]
    assert [line for line, _ in bad] == [8, 9, 10, 11, 12]
    reasons = ["is nobody", "has not 3 fields", "is no time", "before 2010", "is not text"]
    for (_, reason), part in zip(bad, reasons, strict=True):
        assert part in reason


def test_a_jsonl_keeps_types_and_goes_on_after_what_is_none(tmp_path: Path) -> None:
    rows = read(
        tmp_path / "f.jsonl",
        b'{"user": "u1", "value": 3}\n'
        b"\n"
        b'{"user": "u2", "value": [1]}\n'
        b"nonsense\n"
        b'{"user": "u\xff", "value": 1}\n'
        b'{"user": "u3", "vlaue": 1}\n'
        b'{"user": "u4", "value": null, "at": "2026-03-02T02:00:00Z"}',
    )
    assert [row for row in rows if isinstance(row, Row)] == [
        Row(1, "user_id:u1", 3, None),
        Row(7, "user_id:u4", None, AT_MS),
    ]
    assert [row.line for row in rows if isinstance(row, Bad)] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("f.txt", "", "neither .csv"),
        ("f.csv", "id,value\n", "1: has the columns id, value"),
        ("f.csv", "", "has the columns none"),
    ],
)
def test_a_file_that_is_no_import_is_refused_wholly(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    with pytest.raises(ConfigInvalid, match=problem):
        read(tmp_path / name, text)


@pytest.mark.parametrize("user", ["user_id:u1", "unionid:x", "openid:wx1:o1"])
@pytest.mark.parametrize("value", ["gold", 3, 2.5, True, None])
def test_an_item_of_a_row_passes_the_validation_of_all_events_as_itself(
    user: str, value: str | float | None
) -> None:
    item = item_of("vip", Row(1, user, value, AT_MS), AT_MS)
    assert item == item_of("vip", Row(9, user, value, None), AT_MS)
    envelope = Envelope(door="native", source="server", account="t", received_at_ms=AT_MS + 9)
    event = Validator(b"key", shipped_plan()).event(RawRecord(envelope, item), 0, 0)
    assert isinstance(event, Event), event
    assert (event.user, event.timestamp_ms) == (user, AT_MS)
    assert imported("vip")(event) == (value,)
    app = Envelope(door="native", source="app", account="t", received_at_ms=AT_MS + 9)
    assert not isinstance(
        Validator(b"key", shipped_plan()).event(RawRecord(app, item), 0, 0), Event
    )
