"""`siyu audit tags`: the tags of sampled users, live against recomputed by SQL from raw events.

Live is the changelog of the worker's state, read by the engine; each user's state says up to
which event of the log it goes, and SQL counts the landed events up to there. So it holds
while events flow. Tags that are made of others are made here of what SQL gave for those.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas.settings import Settings
from schemas.tags import MadeTag, Tag
from schemas.topics import ENGAGE_STATE, EVENTS
from sinks.clickhouse.event_sql import NotInSql
from sinks.clickhouse.land import GROUP as LAND_GROUP
from sinks.clickhouse.tag_audit import TagAudit
from sinks.clickhouse.tag_sql import shown, twin_of
from streams.commands.tags.compare import Verdict, judge
from streams.core.engine import Engine
from streams.core.rulebook import Rulebook
from streams.core.tags.exprs import expr_refs, make_expr
from streams.core.tags.values import plain
from streams.kafka_client.producing import partition_of
from streams.runtime.state.shard import HEADER_BYTES, offset_of
from streams.runtime.topics import start

WORKER_GROUP: Final = "siyu-worker"
_REMEDY: Final = "`siyu tags backfill TAG`, if its definition is new or has changed"
Progress = Callable[[int], None]


@dataclass(slots=True)
class Live:
    """States by user as the changelog has them, and how far worker and lander are."""

    partitions: int = 0
    states: dict[str, bytes] = field(default_factory=dict)
    worker: dict[int, int] = field(default_factory=dict)
    lander: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expected:
    """One tag by SQL: values of the users that it has met, ``empty`` for all others."""

    values: dict[str, Any]
    empty: Any
    exact: dict[str, str] = field(default_factory=dict)

    def of(self, user: str) -> Any:  # noqa: ANN401 - JSON
        """Return the value of a user."""
        return self.values.get(user, self.empty)


async def audit_tags(
    settings: Settings,
    rulebook: Rulebook,
    *,
    users: int,
    seed: int,
    at_ms: int | None,
    progress: Progress,
) -> dict[str, Any]:
    """Return ``{"audit": "tags", "ok", "findings", "figures"}``; raises ``PartMissing``."""
    began_s = time.monotonic()
    with TagAudit(settings.clickhouse) as sql:
        sample = sql.sample(users, seed)
        live = await read_live(settings, set(sample), progress)
        settled, behind = _settled(live, sample)
        sql.take(settled)
        events, latest_ms = sql.extent()
        at_ms = latest_ms if at_ms is None else at_ms
        findings: list[dict[str, Any]] = []
        if not events:
            # Else an audit of a worker that never ran would find nothing wrong.
            findings.append({"check": "nothing_to_compare", "users": len(sample)})
        if lost := sql.passed_over(live.worker):
            findings.append(
                {
                    "check": "events_not_in_state",
                    "users": len(lost),
                    "events": sum(lost.values()),
                    "sample": dict(list(lost.items())[:5]),
                }
            )
        names = [user for user, _, _ in settled if user not in lost]
        verdicts = _compare(sql, rulebook, live, names, at_ms=at_ms, findings=findings)
    return {
        "audit": "tags",
        "ok": not findings,
        "findings": findings,
        "figures": {
            "users": len(names),
            "behind": behind,
            "events": events,
            "at_ms": at_ms,
            "seconds": round(time.monotonic() - began_s, 1),
            "seed": seed,
            "state_bytes": _sizes(live),
            "tags": {tag: verdict.as_json() for tag, verdict in verdicts.items()},
        },
    }


def _settled(live: Live, sample: list[str]) -> tuple[list[tuple[str, int, int]], int]:
    """Return whose state has landed, with partition and last offset; and how many have not."""
    settled, behind = [], 0
    for user in sample:
        partition = partition_of(user.encode(), live.partitions)
        value = live.states.get(user)
        upto = -1 if value is None else offset_of(value)
        if upto < live.lander.get(partition, 0):
            settled.append((user, partition, upto))
        else:
            behind += 1
    return settled, behind


def _sizes(live: Live) -> dict[str, int]:
    """Return the median and the 99th percentile of the packed states, bytes."""
    sizes = sorted(len(value) - HEADER_BYTES for value in live.states.values()) or [0]
    return {"median": sizes[len(sizes) // 2], "p99": sizes[len(sizes) * 99 // 100]}


def _compare(
    sql: TagAudit,
    rulebook: Rulebook,
    live: Live,
    users: list[str],
    *,
    at_ms: int,
    findings: list[dict[str, Any]],
) -> dict[str, Verdict]:
    engine = Engine(rulebook)
    profiles = {user: _profile(engine, live.states.get(user), at_ms) for user in users}
    known: dict[str, Expected] = {}
    verdicts: dict[str, Verdict] = {}
    for tag in _in_order(rulebook.tags):
        verdict = verdicts[tag.id] = Verdict(tag.kind)
        try:
            expected = known[tag.id] = _expected(sql, tag, at_ms, known)
        except NotInSql as cannot:
            findings.append({"check": "not_recomputed", "tag": tag.id, "problem": str(cannot)})
            continue
        for user in users:
            want, have = expected.of(user), profiles[user].get(tag.id, expected.empty)
            if isinstance(tag, MadeTag):
                _judge_expr(verdict, user, have, want)
            else:
                judge(verdict, tag, user, have, want, exact=expected.exact.get(user, ""))
        if verdict.drift:
            findings.append(
                {
                    "check": "drift",
                    "tag": tag.id,
                    "users": verdict.drift,
                    "of": verdict.compared,
                    "sample": verdict.samples,
                    "remedy": _REMEDY,
                }
            )
    return verdicts


def _profile(engine: Engine, value: bytes | None, at_ms: int) -> dict[str, object]:
    return engine.read_tags(engine.load(value[HEADER_BYTES:] if value else None), at_ms)


def _judge_expr(verdict: Verdict, user: str, have: object, want: object) -> None:
    verdict.compared += 1
    verdict.set += have is not None
    if isinstance(have, float | int) and isinstance(want, float | int):
        # What it is made of may have an error of its own.
        if not math.isclose(have, want, rel_tol=1e-3, abs_tol=1e-3):
            verdict.note(user, have, want)
    elif have != want:
        verdict.note(user, have, want)


def _in_order(tags: tuple[Tag, ...]) -> list[Tag]:
    """Return tags such that each stands after those that it is made of."""
    by_id = {tag.id: tag for tag in tags}
    reads = {
        tag.id: {ref.path[0] for ref in expr_refs(tag)} if isinstance(tag, MadeTag) else set()
        for tag in tags
    }
    return [by_id[tag_id] for tag_id in TopologicalSorter(reads).static_order()]


def _expected(sql: TagAudit, tag: Tag, at_ms: int, known: dict[str, Expected]) -> Expected:
    if not isinstance(tag, MadeTag):
        found = sql.values(tag, at_ms)
        return Expected(
            {user: shown(tag, value) for user, (value, _) in found.items()},
            twin_of(tag.kind).empty,
            {user: exact for user, (_, exact) in found.items()},
        )
    reads = {ref.path[0] for ref in expr_refs(tag)}
    if missing := reads - known.keys():
        raise NotInSql(f"made of {min(missing)}, which is not recomputed")
    make, values = make_expr(tag), dict[str, Any]()
    for user in {user for read in reads for user in known[read].values}:
        inputs = {read: known[read].of(user) for read in reads}
        values[user] = plain(make(inputs.__getitem__))
    return Expected(values, None)


async def read_live(settings: Settings, users: set[str], progress: Progress) -> Live:
    """Read the changelog of the worker's state for some users, and the groups' offsets."""
    live = Live()
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await start(admin, settings)
    try:
        described = await admin.describe_topics([EVENTS.name])
        live.partitions = len(described[0]["partitions"])
        tps = [TopicPartition(EVENTS.name, partition) for partition in range(live.partitions)]
        group = await admin.list_consumer_group_offsets(WORKER_GROUP, partitions=tps)
        live.worker = {tp.partition: max(0, meta.offset) for tp, meta in group.items()}
        await _read_states(settings, live, {user.encode() for user in users}, progress)
        group = await admin.list_consumer_group_offsets(LAND_GROUP, partitions=tps)
        live.lander = {tp.partition: max(0, meta.offset) for tp, meta in group.items()}
    finally:
        await admin.close()
    return live


async def _read_states(
    settings: Settings, live: Live, keys: set[bytes], progress: Progress
) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        isolation_level=settings.isolation_level,
        max_partition_fetch_bytes=8 * 1024 * 1024,
        fetch_max_wait_ms=50,
    )
    await start(consumer, settings)
    try:
        tps = [TopicPartition(ENGAGE_STATE.name, partition) for partition in range(live.partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await _log_ends(settings, tps)
        done = 0
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500, max_records=20_000)).values():
                done += len(records)
                for record in records:
                    if record.key in keys:
                        live.states[record.key.decode()] = record.value
            progress(done)
    finally:
        await consumer.stop()


async def _log_ends(settings: Settings, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the ends with what is not committed yet.

    The offsets of a transaction may be seen a moment before its states: those up to the
    committed end alone could lack what the worker has said to be done.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
    await start(consumer, settings)
    try:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(tps)
        return ends
    finally:
        await consumer.stop()
