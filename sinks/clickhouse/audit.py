"""The audit of the landing: the log and ClickHouse, offset by offset; aggregates from raw.

The log is read as a consumer of committed transactions reads it, in step with the offsets
that ClickHouse holds, in order: memory stays flat however long the log is. Below the
start of the log (retention) only double rows can be found.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from clickhouse_driver import Client

from schemas.errors import PartMissing, no_broker
from schemas.settings import Settings
from sinks.clickhouse.aggregates import Aggregate, aggregates, difference, rebuild
from sinks.clickhouse.client import as_missing, connect
from sinks.clickhouse.land import GROUP
from sinks.clickhouse.plan import from_metadata
from sinks.clickhouse.rows import UNREADABLE
from sinks.clickhouse.tables import ALL, BY_TOPIC, Table, offsets_sql

_SHOWN: Final = 10
_IDLE_S: Final = 30.0
# Raw rows show before the view's: a difference must outlast the inserts in flight.
_RECHECKS: Final = 4
_RECHECK_S: Final = 0.5
Finding = dict[str, Any]


@dataclass(slots=True)
class Report:
    """What was found, and the figures that it was found from."""

    findings: list[Finding] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    topics: dict[str, dict[str, int]] = field(default_factory=dict)
    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    aggregates: dict[str, int] = field(default_factory=dict)

    def offsets(self, check: str, tp: TopicPartition, offsets: list[int]) -> None:
        """Note offsets at fault, the first few by number."""
        if offsets:
            self.findings.append(
                {
                    "check": check,
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "count": len(offsets),
                    "offsets": offsets[:_SHOWN],
                }
            )


def audit(settings: Settings, *, settled: bool = False, repair: bool = False) -> dict[str, Any]:
    """Return ``{"audit": "land", "ok", "findings", "repaired", "figures"}``.

    Holds while a lander works: what it has not committed yet counts as ``behind``. With
    ``settled`` that is a finding too. ``repair`` makes each aggregate that is wrong anew from
    the raw rows (which it does not touch) and compares again. Raises ``PartMissing`` if a part
    does not answer, or if a lander is at work that a repair would disturb.
    """
    try:
        return asyncio.run(_audit(settings, settled=settled, repair=repair))
    except KafkaError as down:
        raise no_broker(settings.kafka, down) from down
    except Exception as error:
        raise as_missing(error) or error from error


async def _audit(settings: Settings, *, settled: bool, repair: bool) -> dict[str, Any]:
    report = Report()
    client = connect(settings.clickhouse)
    try:
        await _compare_log(settings, client, report)
        _count_tables(client, report)
        before = len(report.findings)
        wrong = _recompute(client, report)
        if repair and wrong:
            await _assert_nobody_lands(settings)
            for aggregate in wrong:
                rebuild(client, aggregate)
            report.repaired = [aggregate.name for aggregate in wrong]
            del report.findings[before:]
            _recompute(client, report)
    finally:
        client.disconnect()
    behind = sum(figures["behind"] for figures in report.topics.values())
    if settled and behind:
        report.findings.append({"check": "behind", "count": behind})
    return {
        "audit": "land",
        "ok": not report.findings,
        "findings": report.findings,
        "repaired": report.repaired,
        "figures": {
            "topics": report.topics,
            "tables": report.tables,
            "aggregates": report.aggregates,
        },
    }


async def _compare_log(settings: Settings, client: Client, report: Report) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=settings.isolation_level,
    )
    await consumer.start()
    try:
        tps, committed = await _partitions(settings, report)
        begins = await consumer.beginning_offsets(tps)
        ends = await consumer.end_offsets(tps)
        consumer.assign(tps)
        consumer.pause(*tps)
        for tp in tps:
            span = range(begins[tp], ends[tp])
            await _compare_partition(
                consumer, client, tp, span, committed=committed.get(tp, 0), report=report
            )
    finally:
        await consumer.stop()


async def _partitions(
    settings: Settings, report: Report
) -> tuple[list[TopicPartition], dict[TopicPartition, int]]:
    """Return the partitions of all landed topics, and what the landers have committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        described = await admin.describe_topics(list(BY_TOPIC))
        tps = [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            for partition in topic["partitions"]
        ]
        group = await admin.list_consumer_group_offsets(GROUP, partitions=tps)
    finally:
        await admin.close()
    # A topic that is not there must not pass for one without a fault.
    for topic in sorted(BY_TOPIC.keys() - {tp.topic for tp in tps}):
        report.findings.append({"check": "no_such_topic", "topic": topic})
    return sorted(tps), {tp: meta.offset for tp, meta in group.items() if meta.offset >= 0}


async def _assert_nobody_lands(settings: Settings) -> None:
    """Raise ``PartMissing`` while a lander is in the group or has left a plan open."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        described = await admin.describe_consumer_groups([GROUP])
        committed = await admin.list_consumer_group_offsets(GROUP)
    finally:
        await admin.close()
    members = sum(len(group[5]) for answer in described for group in answer.groups)
    if members:
        raise PartMissing(
            "a pause of the landing", f"{members} `siyu land` at work", remedy="stop them first"
        )
    if any(from_metadata(meta.metadata) for meta in committed.values()):
        raise PartMissing(
            "the end of an insert", "a lander died amid one", remedy="`siyu land --once` first"
        )


async def _compare_partition(
    consumer: AIOKafkaConsumer,
    client: Client,
    tp: TopicPartition,
    span: range,
    *,
    committed: int,
    report: Report,
) -> None:
    """Compare one partition's log over ``span`` with what ClickHouse holds of it."""
    if committed < span.start:
        report.offsets("trimmed_before_landing", tp, [committed, span.start - 1])
    landed = _Landed(client, tp, span)
    missing: list[int] = []
    extra: list[int] = []
    double: list[int] = []
    logged = 0
    async for chunk in _log(consumer, tp, span):
        there, refused = landed.up_to(max(chunk))
        logged += len(chunk)
        if refused or there != chunk:
            missing += [
                offset for offset, n in chunk.items() if there[offset] < n and not refused[offset]
            ]
            extra += sorted((there.keys() | refused.keys()) - chunk.keys())
            double += [
                offset
                for offset, n in chunk.items()
                if there[offset] > n or refused[offset] > 1 or (there[offset] and refused[offset])
            ]
    extra += sorted({offset for rest in landed.up_to(span.stop) for offset in rest})
    report.offsets("missing", tp, [offset for offset in missing if offset < committed])
    # Committed transactions only: an offset that the log does not have came from an aborted one.
    report.offsets("not_on_the_log", tp, extra)
    report.offsets("double", tp, double)
    figures = report.topics.setdefault(tp.topic, {"log": 0, "landed": 0, "behind": 0})
    figures["log"] += logged
    figures["landed"] += logged - len(missing)
    figures["behind"] += sum(offset >= committed for offset in missing)


class _Landed:
    """The offsets of a partition in ClickHouse, taken bit by bit in their order."""

    def __init__(self, client: Client, tp: TopicPartition, span: range) -> None:
        query = (
            "SELECT _offset, refused, count() FROM"  # noqa: S608 - names of tables.py only
            f" ({offsets_sql(tp.topic)}) WHERE _partition = %(partition)s"
            " AND _offset >= %(start)s AND _offset < %(stop)s GROUP BY _offset, refused"
            " ORDER BY _offset"
        )
        values = {"partition": tp.partition, "start": span.start, "stop": span.stop}
        self._rows: Iterator[tuple[int, int, int]] = client.execute_iter(query, values)
        self._next = next(self._rows, None)

    def up_to(self, last: int) -> tuple[Counter[int], Counter[int]]:
        """Return how many rows and rejects stand at the next offsets, those up to ``last``."""
        taken: tuple[Counter[int], Counter[int]] = Counter(), Counter()
        while self._next is not None and self._next[0] <= last:
            offset, refused, n = self._next
            taken[refused][offset] = n
            self._next = next(self._rows, None)
        return taken


async def _log(
    consumer: AIOKafkaConsumer, tp: TopicPartition, span: range
) -> AsyncIterator[Counter[int]]:
    """Yield the data offsets of ``span`` that a reader of committed transactions sees.

    With each goes how many rows its record makes.
    """
    table = BY_TOPIC[tp.topic]
    consumer.resume(tp)
    consumer.seek(tp, span.start)
    moved_s, position = time.monotonic(), span.start
    while position < span.stop:
        fetched = await consumer.getmany(tp, timeout_ms=500)
        rows = Counter(
            {
                record.offset: _rows_of(table, record)
                for record in fetched.get(tp, ())
                if record.offset < span.stop
            }
        )
        if rows:
            yield rows
        if (at := await consumer.position(tp)) > position:
            moved_s, position = time.monotonic(), at
        elif time.monotonic() - moved_s > _IDLE_S:
            raise PartMissing(
                "kafka", f"{tp.topic}:{tp.partition} stands still", remedy="try again"
            )
    consumer.pause(tp)


def _rows_of(table: Table, record: Any) -> int:  # noqa: ANN401 - aiokafka is untyped
    if table.rows_a_record == 1:
        return 1
    try:
        return len(table.rows(table.decode(record.value or b"")))
    except UNREADABLE:
        return 1


def _count_tables(client: Client, report: Report) -> None:
    for table in ALL:
        key = ", ".join(table.key)
        rows, distinct = client.execute(f"SELECT count(), uniqExact({key}) FROM {table.name}")[0]  # noqa: S608 - names of tables.py only
        report.tables[table.name] = {"rows": rows, "distinct": distinct}
        if rows != distinct:
            report.findings.append(
                {"check": "double_rows", "table": table.name, "count": rows - distinct}
            )


def _recompute(client: Client, report: Report) -> list[Aggregate]:
    """Compare the aggregates with the raw rows; return those that are wrong."""
    doubtful = aggregates(client)
    findings: list[Finding] = []
    for attempt in range(_RECHECKS):
        if attempt:
            time.sleep(_RECHECK_S)
        differences = [(aggregate, *difference(client, aggregate)) for aggregate in doubtful]
        report.aggregates |= {aggregate.name: rows for aggregate, rows, _, _ in differences}
        findings = [
            {"check": "aggregate", "table": aggregate.name, "wrong": wrong, "absent": absent}
            for aggregate, _, wrong, absent in differences
            if wrong or absent
        ]
        doubtful = [aggregate for aggregate, _, wrong, absent in differences if wrong or absent]
        if not doubtful:
            return []
    report.findings += findings
    return doubtful
