"""Tables at 80 columns: whatever a cell holds can be read, also in Chinese."""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from deploy.demo import report
from schemas.profiles import Found, TagNow
from streams.commands.printing import print_table
from streams.commands.rules import show
from streams.commands.user import cli as user_cli
from streams.core.intake.reject_reasons import REASONS
from streams.terminal import print_rows

WIDTH = 80
NOON_MS = 1_767_240_000_000
UUID = "0d3b9f04-7a1e-4c52-9d0f-6f2f6f0c9a11"
OPENID = "openid:wx5f3c9a7b2d1e4f60:oAbC1dEfGhIjKlMnOpQrStUvWxYz"
CHINESE = "加购后三十分钟没有付款的会员，发送一条带优惠券的提醒（免打扰时段顺延到次日上午）"
LONG_JSON = json.dumps(
    {"sku": ["skincare-01", "护肤套装"], "amounts": [12.5] * 12}, ensure_ascii=False
)
PROSE = "the plan asks for a number: mend the producer, or let the plan take text, then redrive"
TABLES: Mapping[str, tuple[list[str], list[list[Any]]]] = {
    "few short columns": (["day", "users"], [["2026-11-11", 12], ["2026-11-12", 7]]),
    "no rows": (["day", "users"], []),
    "prose beside ids": (["tag", "means"], [["last_category", PROSE], ["偏好品类", CHINESE]]),
    "more columns than fit": (
        [f"column_{number}" for number in range(12)],
        [[number * 1_000_000 for number in range(12)], [OPENID, *range(11)]],
    ),
    "words longer than the terminal": (["id", "v"], [["x" * 200, "1"], ["护" * 99, LONG_JSON]]),
    "several lines in a cell": (["id", "body", "n"], [["1", "a\nb" + "c" * 70, 3], ["2", "", 4]]),
    "what looks like markup": (["value", "[b]"], [['["a", "b"]', "[red]"], ["[/]", OPENID * 2]]),
    "reasons": (["rule", "by"], [["cart_30m", {"cap:daily": 12, "quiet:夜间": 3}]]),
}


def printed(call: Callable[[Console], object], width: int = WIDTH) -> str:
    file = io.StringIO()
    call(Console(file=file, width=width, highlight=False, soft_wrap=True))
    return file.getvalue()


def squeezed(text: str) -> str:
    """Return text without blanks, line breaks and borders."""
    return re.sub(r"[\s\u2500-\u257f]", "", text)


def cells_in_columns(text: str, count: int) -> list[str]:
    """Return the text of each column of a drawn table, all its lines joined."""
    rows = [line[1:-1].split(line[0]) for line in text.splitlines() if line[:1] in ("┃", "│")]
    return ["".join(squeezed(row[index]) for row in rows) for index in range(count)]


def assert_whole(text: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Assert that every cell and every name is found once wrapping is taken out."""
    assert all(cell_len(line) <= WIDTH for line in text.splitlines())
    drawn = any(line.startswith("┃") for line in text.splitlines())
    for index, name in enumerate(columns):
        where = cells_in_columns(text, len(columns))[index] if drawn else squeezed(text)
        for cell in [name if rows or drawn else "", *(row[index] for row in rows)]:
            shown = (
                ", ".join(f"{k} {v}" for k, v in cell.items()) if isinstance(cell, dict) else cell
            )
            assert squeezed(str(shown)) in where


@pytest.mark.parametrize("name", TABLES)
def test_no_cell_is_cut_at_80_columns(name: str) -> None:
    columns, rows = TABLES[name]
    assert_whole(printed(lambda console: print_rows(console, columns, rows)), columns, rows)


@pytest.mark.parametrize("width", [20, 40, 60, 100, 300])
@pytest.mark.parametrize("name", TABLES)
def test_no_cell_is_cut_at_any_width(name: str, width: int) -> None:
    columns, rows = TABLES[name]
    text = printed(lambda console: print_rows(console, columns, rows), width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    if not text.startswith("┏"):
        assert all(
            squeezed(str(cell)) in squeezed(text)
            for row in rows
            for cell in row
            if not isinstance(cell, dict)
        )


def test_an_id_stays_whole_where_a_column_could_hold_it() -> None:
    rows = [[UUID, PROSE], [OPENID[:40], CHINESE]]
    text = printed(lambda console: print_rows(console, ["message_id", "说明"], rows))
    assert text.startswith("┏")
    assert UUID in text
    assert OPENID[:40] in text


def test_the_fields_of_records_stand_under_each_other() -> None:
    columns = ["rule", *(f"count_{number}" for number in range(9))]
    rows = [["cart_30m", *range(9)], ["生日", *range(1000, 1009)]]
    lines = printed(lambda console: print_rows(console, columns, rows)).splitlines()
    assert len(lines) == 4

    def places(line: str) -> list[int]:
        return [cell_len(line[: match.start()]) for match in re.finditer("count_", line)]

    assert places(lines[0]) == places(lines[2])
    assert places(lines[1]) == places(lines[3])


def test_a_title_stands_over_the_table() -> None:
    text = printed(lambda console: print_rows(console, ["a"], [["1"]], title="被拒 [b]"))
    assert text.startswith("被拒 [b]\n")


def test_rejects_can_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    columns = [
        "fingerprint",
        "count",
        "redriven",
        "stage",
        "reason",
        "last seen",
        "detail",
        "remedy",
    ]
    detail = "properties.price: 期望数字，得到 'abc' " + "properties.amount.value " * 3
    rows = [
        ["f" * 16, 123_456, 0, "validate", reason, "2026-11-22T10:00:00.123+00:00", detail, remedy]
        for reason, remedy in REASONS.items()
    ]
    print_table(columns, rows)
    assert_whole(capsys.readouterr().out, columns, rows)


def test_rules_can_be_read() -> None:
    outcomes = {"sent": 1_234_567, "held": 1, "suppressed": 22_222, "converted": 7}
    rules = ["thanks_first_order_of_members", "加购未支付提醒"]
    status = {
        "in_force": "a" * 16,
        "from": "pushed",
        "versions": [],
        "partitions": [],
        "refused": [],
        "rules": {
            rule: {"status": "shadow", "version": "b" * 12, "last_day": outcomes} for rule in rules
        },
    }
    text = squeezed(printed(lambda console: show.show_status(status, console)))
    assert all(rule in text for rule in (*rules, "1234567", "22222", "b" * 12, "suppressed"))

    suppressed = {"cap:marketing_daily": 123, "quiet:night": 4, "audience": 56_789, "免打扰": 1}
    told = {
        "status": "live",
        "would_fire": 1_000_000,
        "reach": 900_000,
        "holdout": 100_000,
        "suppressed_by": suppressed,
        "conversions": {"reached": 12, "holdout": 3},
        "samples": [],
    }
    backtest = {
        "backtest": {"rulebook": "v", "from_ms": 0, "to_ms": 1},
        "events": 1,
        "users": 1,
        "seconds": 1,
        "events_per_s": 1,
        "unfoldable": 0,
        "rules": dict.fromkeys(rules, told),
    }
    text = squeezed(printed(lambda console: show.show_backtest(backtest, console)))
    by = "cap:marketing_daily 123, quiet:night 4, audience 56,789, 免打扰 1"
    assert all(squeezed(part) in text for part in (*rules, by, "1,000,000", "12 (holdout 3)"))

    change = {
        "change": "changed",
        "fires_old": 10**6,
        "fires_new": 10**6,
        "reach_old": 10**6,
        "reach_new": 10**6,
        "gain": 123_456,
        "lose": 654_321,
        "gains": [],
        "loses": [],
    }
    book = {"name": "deploy/rulebook", "rulebook": "v"}
    diff = {
        "diff": {"old": book, "new": book},
        "events": 1,
        "users": 1,
        "rules": dict.fromkeys(rules, change),
    }
    text = squeezed(printed(lambda console: show.show_diff(diff, console)))
    assert all(part in text for part in (*rules, "123,456", "654,321", "changed"))


def test_a_user_can_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    value = {"护肤": 12.5, "彩妆": 3.25, "skincare-very-long-category-name": 0.125}
    tags = {
        "preferred_categories_90d": TagNow(
            layer="behaviour", value=value, since_ms=NOON_MS, message_id=UUID
        ),
        "首触渠道": TagNow(layer="channel", value=OPENID, since_ms=NOON_MS, message_id=""),
    }
    found = Found(
        user=OPENID,
        matched="phone:138",
        partition=0,
        offset=0,
        at_ms=NOON_MS,
        tags=tags,
        identities={"openid": OPENID},
        timers=[],
    )
    user_cli._print(found)  # noqa: SLF001 - what `siyu user show` prints of an answer
    text = squeezed(capsys.readouterr().out)
    shown = (*tags, UUID, OPENID, json.dumps(value, ensure_ascii=False))
    assert all(squeezed(part) in text for part in shown)


def test_the_demo_can_be_read() -> None:
    columns = [
        "rule",
        "decided_sent",
        "suppressed",
        "held",
        "holdout",
        "exited",
        "converted",
        "delivered",
        "failed",
        "unknown",
        "not_sent_by_reason",
    ]
    reasons = {"cap:marketing_daily": 12, "quiet:night": 3, "channel:closed": 44, "免打扰": 1}
    rows = [["thanks_first_order", *[1234] * 9, reasons], ["生日祝福", *[0] * 9, {}]]
    text = printed(lambda console: report._table(console, "touches by rule", columns, rows))  # noqa: SLF001 - the report's tables
    assert_whole(text.partition("\n")[2], columns, rows)


def test_each_table_of_the_program_goes_the_one_way() -> None:
    root = Path(__file__).parents[2]
    users = [
        str(path.relative_to(root))
        for folder in ("streams", "deploy", "sinks", "schemas")
        for path in (root / folder).rglob("*.py")
        if "rich.table" in path.read_text("utf-8")
    ]
    assert users == ["streams/terminal.py"]
