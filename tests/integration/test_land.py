import signal
from collections.abc import Iterator

import pytest

from schemas.errors import SinkUnavailable
from schemas.events import encode_event
from sinks.clickhouse.audit import audit
from sinks.clickhouse.rows import Part, build_parts, span_of
from sinks.clickhouse.writer import Writer
from tests.land_harness import BASE_MS, Bench, Logged, Message, bench, make_event, mixed

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("land")) as one:
        yield one


@pytest.fixture
def run(shared: Bench) -> Iterator[Bench]:
    yield shared
    shared.stop_landers()


def _parts(first: int, count: int) -> list[Part]:
    # A partition number that no test's topic has keeps these rows apart from the landed ones.
    records = [Logged(n, encode_event(make_event(n))) for n in range(first, first + count)]
    return build_parts(span_of("events", 900, records), records)


def test_each_committed_record_is_one_row_and_aborted_ones_are_none(run: Bench) -> None:
    run.produce(mixed(3000), abort_share=0.5)
    run.land_all()
    run.assert_exact()


def test_a_row_holds_what_the_event_said(run: Bench) -> None:
    event = make_event(
        1, message_id="whole", properties={"amount": "19.99", "sku": "a", "深": {"x": [1, None]}},
        traits={"nick": "\u0000😀"}, marks=["late"], sent_at_ms=BASE_MS, user_id="u1",
    )  # fmt: skip
    run.produce([("events", encode_event(event), None)])
    run.land_all()
    query = (
        "SELECT event, user, source, toUnixTimestamp64Milli(timestamp), sent_at IS NULL, user_id,"
        " anonymous_id, identities, properties, JSONExtractString(traits, 'nick'), marks,"
        " toString(amount), sku, channel, original_timestamp IS NULL"
        " FROM events WHERE message_id = 'whole'"
    )
    assert run.ask(query) == [(
        event.event, event.user, event.source, event.timestamp_ms, 0, "u1", "", {"user_id": "u1"},
        '{"amount":"19.99","sku":"a","深":{"x":[1,null]}}', "\u0000😀", ["late"], "19.99", "a",
        "wechat", 1,
    )]  # fmt: skip


def test_what_no_table_can_take_becomes_a_reject_with_its_bytes(run: Bench) -> None:
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
    run.produce(messages)
    run.land_all()
    found = run.ask("SELECT reason, hex(body) FROM rejects WHERE stage = 'land'")
    assert sorted(found) == sorted(("undecodable", value.hex().upper()) for value in bad)
    run.assert_exact()


def test_a_row_that_clickhouse_refuses_does_not_hold_up_the_others(run: Bench) -> None:
    run.ask("ALTER TABLE events ADD CONSTRAINT no_bane CHECK event != 'bane'")
    try:
        run.produce(mixed(300, 10_000))
        run.produce([("events", encode_event(make_event(n, event="bane")), None) for n in (1, 2)])
        run.produce(mixed(300, 20_000))
        run.land_all()
    finally:
        run.ask("ALTER TABLE events DROP CONSTRAINT no_bane")
    found = run.ask("SELECT count(), any(detail) FROM rejects WHERE reason = 'uninsertable'")
    assert found[0][0] == 2
    assert "no_bane" in found[0][1]
    run.assert_exact()


def test_the_same_part_again_changes_neither_rows_nor_aggregates(run: Bench) -> None:
    writer = Writer(run.settings)
    parts = _parts(0, 500)
    counts = "SELECT (SELECT count() FROM events), (SELECT sum(events) FROM events_per_minute)"
    for part in parts:
        writer.insert(part)
    once = run.ask(counts)
    for part in parts * 3:
        writer.insert(part)
    assert run.ask(counts) == once

    run.kill("clickhouse")
    with pytest.raises(SinkUnavailable):
        writer.insert(parts[0])
    run.restore()
    for part in parts:
        writer.insert(part)
    writer.close()
    assert run.ask(counts) == once


def test_sigterm_ends_it_with_nothing_half_done(run: Bench) -> None:
    before = run.landed()
    lander = run.lander()
    run.produce(mixed(2000, 40_000))
    run.until(lambda: run.landed() > before)
    lander.send_signal(signal.SIGTERM)
    assert lander.wait(30) == 0, run.log()


def test_it_waits_for_a_broker_that_is_away(run: Bench) -> None:
    lander = run.lander()
    for start in (50_000, 60_000):
        before = run.landed()
        run.produce(mixed(100, start))
        run.until(lambda before=before: run.landed() > before)  # type: ignore[misc] # mypy cannot infer it
        run.kill("kafka")
        run.restore()
    assert lander.poll() is None
    run.stop_landers()
    run.land_all()
    run.assert_exact()


# The last one: it leaves the tables at fault.
def test_the_audit_sees_a_missing_a_double_and_a_foreign_row(run: Bench) -> None:
    run.produce(mixed(200, 30_000))
    run.land_all()
    run.assert_exact()
    copy = "INSERT INTO events SELECT * FROM events WHERE _partition = 1 ORDER BY _offset LIMIT 1"
    run.ask(f"{copy} SETTINGS insert_deduplication_token = 'another'")
    assert _checks(run) >= {"double", "double_rows"}
    run.ask(
        "ALTER TABLE events DELETE WHERE _partition = 1"
        " AND _offset = (SELECT min(_offset) FROM events WHERE _partition = 1)"
        " SETTINGS mutations_sync = 2"
    )
    # The view counted all three: the first landing, the copy, and never the deletion.
    assert _checks(run) == {"missing", "aggregate"}
    run.ask(
        "INSERT INTO events SELECT * REPLACE((SELECT min(_offset) FROM events WHERE _partition = 0)"
        " + 200 AS _offset) FROM events WHERE _partition = 0 LIMIT 1"
    )
    assert _checks(run) >= {"missing"}


def _checks(run: Bench) -> set[str]:
    return {finding["check"] for finding in audit(run.settings, settled=True)["findings"]}
