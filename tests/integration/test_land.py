import signal

import pytest

from schemas.errors import PartMissing, SinkUnavailable
from schemas.events import encode_event
from sinks.clickhouse.audit import audit
from sinks.clickhouse.rows import Part, build_parts, span_of
from sinks.clickhouse.writer import Writer
from tests.land_harness import BASE_MS, Bench, Logged, make_event, mixed
from tests.land_log import Message

pytestmark = pytest.mark.integration


def _parts(first: int, count: int) -> list[Part]:
    # A partition number that no test's topic has keeps these rows apart from the landed ones.
    records = [Logged(n, encode_event(make_event(n))) for n in range(first, first + count)]
    return build_parts(span_of("events", 900, records), records)


def test_each_committed_record_is_one_row_and_aborted_ones_are_none(landing: Bench) -> None:
    landing.produce(mixed(3000), abort_share=0.5)
    landing.land_all()
    landing.assert_exact()


def test_a_row_holds_what_the_event_said(landing: Bench) -> None:
    event = make_event(
        1,
        message_id="whole",
        properties={"amount": "19.99", "sku": "a", "深": {"x": [1, None]}},
        traits={"nick": "\u0000😀"},
        marks=["late"],
        sent_at_ms=BASE_MS,
        user_id="u1",
    )
    landing.produce([("events", encode_event(event), None)])
    landing.land_all()
    query = (
        "SELECT event, user, source, toUnixTimestamp64Milli(timestamp), sent_at IS NULL, user_id,"
        " anonymous_id, identities, properties, JSONExtractString(traits, 'nick'), marks,"
        " toString(amount), sku, channel, original_timestamp IS NULL"
        " FROM events WHERE message_id = 'whole'"
    )
    assert landing.ask(query) == [
        (
            event.event,
            event.user,
            event.source,
            event.timestamp_ms,
            0,
            "u1",
            "",
            {"user_id": "u1"},
            '{"amount":"19.99","sku":"a","深":{"x":[1,null]}}',
            "\u0000😀",
            ["late"],
            "19.99",
            "a",
            "wechat",
            1,
        )
    ]


def test_what_no_table_can_take_becomes_a_reject_with_its_bytes(landing: Bench) -> None:
    good = encode_event(make_event(2))
    bad = [
        b"\xff\x00 no json",
        b"[" * 5000,
        good.replace(b'"product', b'"\\ud800product').replace(b'"order', b'"\\ud800order'),
        good.replace(str(BASE_MS + 2000).encode(), b"99999999999999999"),
        good.replace(b'"user_id":"u2"', b'"user_id":5'),
        b"",
    ]
    messages: list[Message] = [("events", value, None) for value in (good, *bad, good)]
    # Records of three months at once: each month is an insert of its own.
    messages += [("events", good, BASE_MS - n * 35 * 86_400_000) for n in range(3)]
    landing.produce(messages)
    landing.land_all()
    found = landing.ask("SELECT reason, hex(body) FROM rejects WHERE stage = 'land'")
    assert sorted(found) == sorted(("undecodable", value.hex().upper()) for value in bad)
    landing.assert_exact()


def test_a_row_that_clickhouse_refuses_does_not_hold_up_the_others(landing: Bench) -> None:
    landing.ask("ALTER TABLE events ADD CONSTRAINT no_bane CHECK event != 'bane'")
    try:
        landing.produce(mixed(300, 10_000))
        landing.produce(
            [("events", encode_event(make_event(n, event="bane")), None) for n in (1, 2)]
        )
        landing.produce(mixed(300, 20_000))
        landing.land_all()
    finally:
        landing.ask("ALTER TABLE events DROP CONSTRAINT no_bane")
    found = landing.ask("SELECT count(), any(detail) FROM rejects WHERE reason = 'uninsertable'")
    assert found[0][0] == 2
    assert "no_bane" in found[0][1]
    landing.assert_exact()


def test_the_same_part_again_changes_neither_rows_nor_aggregates(landing: Bench) -> None:
    writer = Writer(landing.settings)
    parts = _parts(0, 500)
    counts = (
        "SELECT (SELECT count() FROM events), (SELECT sum(events) FROM events_per_minute),"
        " (SELECT sum(events) FROM users_per_day), (SELECT count() FROM journeys),"
        " (SELECT sum(events) FROM activity), (SELECT sum(events) FROM users),"
        " (SELECT sum(orders) FROM orders), (SELECT sum(amount) FROM orders)"
    )
    for part in parts:
        writer.insert(part)
    once = landing.ask(counts)
    for part in parts * 3:
        writer.insert(part)
    assert landing.ask(counts) == once

    landing.kill("clickhouse")
    with pytest.raises(SinkUnavailable):
        writer.insert(parts[0])
    landing.restore()
    for part in parts:
        writer.insert(part)
    writer.close()
    assert landing.ask(counts) == once


def test_sigterm_ends_it_with_nothing_half_done(landing: Bench) -> None:
    before = landing.landed()
    lander = landing.lander()
    landing.produce(mixed(2000, 40_000))
    landing.until(lambda: landing.landed() > before)
    lander.send_signal(signal.SIGTERM)
    assert lander.wait(30) == 0, landing.log()


def test_it_waits_for_a_broker_that_is_away(landing: Bench) -> None:
    lander = landing.lander()
    for start in (50_000, 60_000):
        before = landing.landed()
        landing.produce(mixed(100, start))
        landing.until(lambda before=before: landing.landed() > before)  # type: ignore[misc] # mypy cannot infer it
        landing.kill("kafka")
        landing.restore()
    assert lander.poll() is None
    landing.stop_landers()
    landing.land_all()
    landing.assert_exact()


# The last one: it leaves the tables at fault.
def test_the_audit_sees_a_missing_a_double_and_a_foreign_row(landing: Bench) -> None:
    landing.produce(mixed(200, 30_000))
    landing.land_all()
    landing.assert_exact()
    copy = "INSERT INTO events SELECT * FROM events WHERE _partition = 1 ORDER BY _offset LIMIT 1"
    landing.ask(f"{copy} SETTINGS insert_deduplication_token = 'another'")
    assert _checks(landing) >= {"double", "double_rows"}
    landing.ask(
        "ALTER TABLE events DELETE WHERE _partition = 1"
        " AND _offset = (SELECT min(_offset) FROM events WHERE _partition = 1)"
        " SETTINGS mutations_sync = 2"
    )
    # The view counted all three: the first landing, the copy, and never the deletion.
    assert _checks(landing) == {"missing", "aggregate"}
    landing.ask(
        "ALTER TABLE tag_changes DELETE WHERE tag = 'view_1h' AND _partition = 0 AND _offset ="
        " (SELECT _offset FROM tag_changes WHERE _partition = 0 GROUP BY _offset"
        " HAVING count() > 1 ORDER BY _offset LIMIT 1) SETTINGS mutations_sync = 2"
    )
    assert ("tags", 1) in _missing(landing)
    before = landing.landed()
    lander = landing.lander()
    landing.produce(mixed(10, 70_000))
    landing.until(lambda: landing.landed() > before)
    with pytest.raises(PartMissing, match="stop them first"):
        audit(landing.settings, repair=True)
    lander.terminate()
    lander.wait(30)
    report = audit(landing.settings, settled=True, repair=True)
    assert {"journeys", "activity", "users_per_day", "events_per_minute"} <= set(report["repaired"])
    assert {finding["check"] for finding in report["findings"]} == {"missing"}
    landing.ask(
        "INSERT INTO events SELECT * REPLACE((SELECT min(_offset) FROM events WHERE _partition = 0)"
        " + 200 AS _offset) FROM events WHERE _partition = 0 LIMIT 1"
    )
    assert _checks(landing) >= {"missing"}


def _missing(landing: Bench) -> set[tuple[str, int]]:
    findings = audit(landing.settings, settled=True)["findings"]
    return {(one["topic"], one["count"]) for one in findings if one["check"] == "missing"}


def _checks(landing: Bench) -> set[str]:
    return {finding["check"] for finding in audit(landing.settings, settled=True)["findings"]}
