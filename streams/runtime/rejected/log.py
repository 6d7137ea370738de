"""The topic of rejects, read whole: each reject with its id, and which were redriven."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from schemas.errors import PartMissing, no_broker
from schemas.rejects import Rejected, Stage, decode_redriven, decode_rejected
from schemas.settings import Settings
from schemas.topics import REDRIVEN, REJECTED, Topic

# Of these stages the bytes are one item that the worker can take again. `collect`: not an
# item yet; `dedupe`: its twin was accepted; `engage`: the event is in `events` already.
REDRIVABLE: Final[frozenset[Stage]] = frozenset({"parse", "validate", "identify"})
_FETCH_MS: Final = 500
_SAMPLE_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class Kept:
    """One record of ``events.rejected``; its id is ``<partition>:<offset>``."""

    id: str
    key: bytes | None
    logged_ms: int
    reject: Rejected

    @property
    def redrivable(self) -> bool:
        """Whether the worker could take these bytes again."""
        return self.reject.envelope is not None and self.reject.stage in REDRIVABLE


@dataclass(slots=True)
class Group:
    """Rejects that failed alike; times are epoch ms of the records."""

    fingerprint: str
    stage: Stage
    reason: str
    detail: str
    first_ms: int
    last_ms: int
    sample: bytes
    redrivable: bool
    count: int = 0
    redriven: int = 0
    accounts: Counter[str] = field(default_factory=Counter)


async def read_rejects(settings: Settings) -> AsyncIterator[Kept]:
    """Yield all rejects that the topic holds now, by partition and offset."""
    async for record in read_topic(settings, REJECTED):
        try:
            reject = decode_rejected(record.value or b"")
        except msgspec.MsgspecError:
            continue  # not of this program's making: the lander keeps its bytes
        yield Kept(f"{record.partition}:{record.offset}", record.key, record.timestamp, reject)


async def read_redriven(settings: Settings) -> dict[str, str]:
    """Return the fingerprint by id of every reject that was redriven."""
    found = {}
    async for record in read_topic(settings, REDRIVEN):
        if record.key is not None and record.value is not None:
            found[record.key.decode()] = decode_redriven(record.value).fingerprint
    return found


async def list_groups(settings: Settings) -> list[Group]:
    """Return the groups of all rejects, the largest first."""
    redriven = await read_redriven(settings)
    groups: dict[str, Group] = {}
    async for kept in read_rejects(settings):
        reject = kept.reject
        group = groups.get(reject.fingerprint)
        if group is None:
            group = groups[reject.fingerprint] = Group(
                reject.fingerprint, reject.stage, reject.reason, reject.detail, kept.logged_ms,
                kept.logged_ms, reject.body[:_SAMPLE_BYTES], kept.redrivable,
            )  # fmt: skip
        group.count += 1
        group.first_ms = min(group.first_ms, kept.logged_ms)
        group.last_ms = max(group.last_ms, kept.logged_ms)
        group.redriven += kept.id in redriven
        group.accounts[reject.envelope.account if reject.envelope else ""] += 1
    return sorted(groups.values(), key=lambda group: (-group.count, group.fingerprint))


async def read_topic(settings: Settings, topic: Topic) -> AsyncIterator[Any]:
    """Yield the committed records that a topic holds now; raises ``PartMissing``."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=settings.isolation_level,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        fetch_max_wait_ms=50,
    )
    try:
        await start(consumer, settings)
        tps = await partitions_of(settings, [topic.name])
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning(*tps)
        for tp in tps:
            consumer.pause(*tps)
            consumer.resume(tp)
            while await consumer.position(tp) < ends[tp]:
                found = await consumer.getmany(tp, timeout_ms=_FETCH_MS)
                for record in found.get(tp, ()):
                    if record.offset < ends[tp]:
                        yield record
    finally:
        await consumer.stop()


async def partitions_of(settings: Settings, topics: list[str]) -> list[TopicPartition]:
    """Return the partitions of topics; raises ``PartMissing`` if one is not there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await start(admin, settings)
        described = await admin.describe_topics(topics)
    finally:
        await admin.close()
    tps = [
        TopicPartition(found["topic"], partition["partition"])
        for found in described
        for partition in found["partitions"]
    ]
    for missing in set(topics) - {tp.topic for tp in tps}:
        raise PartMissing("kafka", f"no topic {missing}", remedy="run `siyu migrate`")
    return sorted(tps)


async def start(client: Any, settings: Settings) -> None:  # noqa: ANN401 - aiokafka is untyped
    """Start a client of the broker; raises ``PartMissing`` where it does not answer."""
    try:
        await client.start()
    except (KafkaConnectionError, KafkaError) as down:
        raise no_broker(settings.kafka, down) from down
