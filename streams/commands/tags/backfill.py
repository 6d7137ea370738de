"""`siyu tags backfill`: a new or changed tag rebuilt from ClickHouse, while events flow.

In rounds: learn up to where each partition has landed, fold the histories of the users who
need it up to there, put the cells on ``events`` as records, wait until those have landed and
the worker has passed them, and look for whom an event came in between. Users have few such
moments, so rounds get small quickly. Nothing is remembered but what is on the log: a killed
run is run again.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas import clock
from schemas.crash import crash_point
from schemas.errors import BrokerUnavailable, PartMissing
from schemas.events import encode_event
from schemas.settings import Settings
from schemas.tags import MadeTag, Tag
from schemas.topics import EVENTS
from sinks.clickhouse.land import GROUP as LAND_GROUP
from sinks.clickhouse.tag_history import TagHistory
from streams.commands.tags.audit import WORKER_GROUP, audit_tags
from streams.core.rebuild import Rebuilder, alone
from streams.core.rulebook import Rulebook, tag_version
from streams.kafka_client.producing import partition_of
from streams.runtime.lanes.producers import new_producer
from streams.runtime.topics import start

MAX_ROUNDS: Final = 10
_PART_EVENTS: Final = 200_000
_FLUSH: Final = 5_000
_PATIENCE_S: Final = 120.0
_AUDITED: Final = 1000
FOR_EVER: Final = (-(2**62), 2**62)
_PARTS: Final = {LAND_GROUP: ("lander", "siyu land"), WORKER_GROUP: ("worker", "siyu worker")}
ProgressOf = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(slots=True)
class Rebuilt:
    """What a run did: ``users`` records sent, ``left`` users who could not be caught up with."""

    rounds: int = 0
    users: int = 0
    events: int = 0
    left: int = 0


class Backfill:
    """One run for one tag; ``span`` are the event times that count, epoch ms, to excluded."""

    def __init__(
        self,
        settings: Settings,
        rulebook: Rulebook,
        tag: Tag,
        *,
        span: tuple[int, int] = FOR_EVER,
        again: bool = False,
        rounds: int = MAX_ROUNDS,
    ) -> None:
        alone(rulebook, tag)
        assert not isinstance(tag, MadeTag)  # noqa: S101 - alone() has refused those
        self._settings, self._rulebook, self._tag, self._span = settings, rulebook, tag, span
        self._rounds = rounds
        # A run goes on where one of the same definition and span was killed.
        marks = [] if span == FOR_EVER else [str(span)]
        marks += [uuid.uuid4().hex] if again else []
        self.run_id = ":".join((tag_version(tag), *marks))
        names = [*tag.event, *(tag.ended_by.event if tag.ended_by else ())]
        self._history = TagHistory(settings.clickhouse, tag.id, self.run_id, names, span)
        self._rebuilder = Rebuilder(rulebook, tag, self.run_id)

    async def run(self, progress_of: ProgressOf) -> dict[str, Any]:
        """Rebuild; return ``{"tag", "ok", ...}``. Raises ``PartMissing``, ``BrokerUnavailable``."""
        began_s, done = time.monotonic(), Rebuilt()
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.kafka)
        await start(admin, self._settings)
        producer = new_producer(self._settings, transactional_id=None)
        try:
            await start(producer, self._settings)
            while True:
                uptos = {p: end - 1 for p, end in (await _passed(admin, LAND_GROUP)).items()}
                done.left, events = self._history.todo(uptos)
                if not done.left or done.rounds == self._rounds:
                    break
                done.rounds += 1
                done.events += events
                with progress_of(f"round {done.rounds}: users", done.left) as progress:
                    ends = await self._round(producer, uptos, events, done, progress)
                await _until_passed(admin, LAND_GROUP, ends)
                # Else the audit could find states as they were before the records.
                await _until_passed(admin, WORKER_GROUP, ends)
        finally:
            await producer.stop()
            await admin.close()
        return await self._report(done, began_s)

    async def _report(self, done: Rebuilt, began_s: float) -> dict[str, Any]:
        report: dict[str, Any] = {
            "tag": self._tag.id,
            "version": tag_version(self._tag),
            "rounds": done.rounds,
            "users": done.users,
            "events": done.events,
            "left": done.left,
            "seconds": round(time.monotonic() - began_s, 1),
            "audit": None,
        }
        if self._span == FOR_EVER:
            # Also the proof that the worker runs this definition: another's records it leaves.
            audit = await audit_tags(
                self._settings,
                alone(self._rulebook, self._tag),
                users=_AUDITED,
                seed=0,
                at_ms=None,
                progress=lambda _done: None,
            )
            report["audit"] = {"ok": audit["ok"], "findings": audit["findings"]}
        ok = not done.left and (report["audit"] is None or report["audit"]["ok"])
        return {**report, "ok": ok}

    async def _round(
        self,
        producer: AIOKafkaProducer,
        uptos: dict[int, int],
        events: int,
        done: Rebuilt,
        progress: Callable[[int], None],
    ) -> dict[int, int]:
        parts, sent = 1 + events // _PART_EVENTS, 0
        acks: list[Any] = []
        ends: dict[int, int] = {}
        for record, partition in self._records(uptos, parts):
            acks.append(
                await producer.send(
                    EVENTS.name, encode_event(record), record.user.encode(), partition=partition
                )
            )
            sent += 1
            crash_point("backfill.sending")
            if len(acks) == _FLUSH:
                await _acked(acks, ends)
                progress(sent)
        await _acked(acks, ends)
        done.users += sent
        return ends

    def _records(self, uptos: dict[int, int], parts: int) -> Iterator[tuple[Any, int]]:
        for part in range(parts):
            for user, events in self._history.pending(uptos, part, parts):
                partition = partition_of(user.encode(), len(uptos))
                now_ms = clock.now_ms()
                yield self._rebuilder.record(user, events, uptos[partition], now_ms), partition


async def _passed(admin: AIOKafkaAdminClient, group: str) -> dict[int, int]:
    """Return by partition the offset of ``events`` up to which, excluded, a group is done."""
    described = await admin.describe_topics([EVENTS.name])
    tps = [TopicPartition(EVENTS.name, p["partition"]) for p in described[0]["partitions"]]
    offsets = await admin.list_consumer_group_offsets(group, partitions=tps)
    return {tp.partition: max(0, offsets[tp].offset) if tp in offsets else 0 for tp in sorted(tps)}


async def _until_passed(admin: AIOKafkaAdminClient, group: str, ends: dict[int, int]) -> None:
    part, command = _PARTS[group]
    deadline_s = time.monotonic() + _PATIENCE_S
    while any([(await _passed(admin, group))[p] < end for p, end in ends.items()]):
        if time.monotonic() > deadline_s:
            raise PartMissing(
                part,
                f"is not past what was sent in {_PATIENCE_S:g} s",
                remedy=f"start `{command}`, then run this again: it goes on from here",
            )
        await asyncio.sleep(0.2)


async def _acked(acks: list[Any], ends: dict[int, int]) -> None:
    """Wait for acks; note behind the last record of each partition."""
    try:
        for ack in acks:
            meta = await ack
            ends[meta.partition] = max(ends.get(meta.partition, 0), meta.offset + 1)
    except KafkaError as problem:
        raise BrokerUnavailable(EVENTS.name, f"{problem!r}; run this again") from problem
    acks.clear()
