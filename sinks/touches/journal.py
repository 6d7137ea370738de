"""The journal: the one writer of a partition's ledger, receipts and input offset.

With transactions, a page is written wholly or not at all, and opening the journal
fences every earlier writer of the partition. Without, the order of the writes keeps
what was accepted, and a crash may repeat a receipt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    ProducerFenced,
)

from schemas import topics, touches
from schemas.crash import crash_point
from schemas.errors import BrokerUnavailable, ConfigInvalid, Fenced, no_broker
from schemas.events import encode_event
from schemas.rejects import Rejected, encode_rejected
from schemas.settings import Settings
from schemas.touches import Receipt
from sinks.touches.ledger import Entry, Ledger, encode_entry
from sinks.touches.results import failure_event

GROUP: Final = "siyu-deliver"
_MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
_CLOSE_S: Final = 5.0

CommitOffset = Callable[[int], Awaitable[None]]


@dataclass(slots=True)
class Page:
    """What one tick writes; ``next_offset`` is where the input goes on, ``None`` for unmoved."""

    entries: list[Entry] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    rejects: list[tuple[bytes | None, Rejected]] = field(default_factory=list)
    next_offset: int | None = None

    def __bool__(self) -> bool:
        return bool(self.entries or self.receipts or self.rejects or self.next_offset is not None)


@dataclass(frozen=True, slots=True)
class _Record:
    topic: str
    key: bytes | None
    value: bytes
    partition: int | None


class Journal:
    """Writes the pages of one input partition."""

    def __init__(self, settings: Settings, partition: int, commit_offset: CommitOffset) -> None:
        self._partition, self._commit_offset = partition, commit_offset
        self._bootstrap, self._transactional = settings.kafka, settings.kafka_transactions
        self.transactional_id = f"{GROUP}-{partition}"
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka,
            client_id=self.transactional_id,
            transactional_id=self.transactional_id if self._transactional else None,
            acks="all",
            # The stand-in broker gives no producer ids, so not even to a plain producer.
            enable_idempotence=self._transactional,
            max_batch_size=256 * 1024,
            max_request_size=_MAX_REQUEST_BYTES,
        )

    async def open(self) -> None:
        """Connect and fence: when this returns, no earlier writer can commit any more."""
        try:
            await self._producer.start()
            for topic in (topics.LEDGER, topics.RECEIPTS, topics.EVENTS):
                await self._check_partitions(topic.name)
        except KafkaConnectionError as down:
            raise no_broker(self._bootstrap, down) from down
        except KafkaError as error:
            raise BrokerUnavailable(topics.LEDGER.name, repr(error)) from error

    async def _check_partitions(self, topic: str) -> None:
        known = await self._producer.partitions_for(topic)
        if self._partition not in known:
            raise ConfigInvalid(
                f"topic {topic}",
                f"has {len(known)} partitions, but {topics.TOUCHES.name} has more",
                hint="topics of one user's records need the same number of partitions",
            )

    async def write(self, page: Page) -> None:
        """Write a page durably; Fenced if a successor owns the partition."""
        try:
            if self._transactional:
                await self._write_in_transaction(page)
            else:
                await self._write_in_order(page)
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise Fenced(self.transactional_id) from error
        except KafkaError as error:
            raise BrokerUnavailable(topics.LEDGER.name, repr(error)) from error

    async def _write_in_transaction(self, page: Page) -> None:
        await self._producer.begin_transaction()
        await self._send([*self._outcomes(page), *self._entries(page)])
        if page.next_offset is not None:
            tp = TopicPartition(topics.TOUCHES.name, self._partition)
            await self._producer.send_offsets_to_transaction({tp: page.next_offset}, GROUP)
        crash_point("deliver.in_transaction")
        await self._producer.commit_transaction()

    async def _write_in_order(self, page: Page) -> None:
        # A repeated receipt shows by its touch id; a missing one shows by nothing.
        await self._send(list(self._outcomes(page)))
        await self._send(list(self._entries(page)))
        if page.next_offset is not None:
            await self._commit_offset(page.next_offset)

    async def _send(self, records: list[_Record]) -> None:
        acks = [await self._producer.send(r.topic, r.value, r.key, r.partition) for r in records]
        # A commit would go through over a failed batch: each ack is looked at first.
        await asyncio.gather(*acks)

    def _outcomes(self, page: Page) -> Iterator[_Record]:
        for receipt in page.receipts:
            value = touches.encode(receipt)
            key = receipt.user.encode()
            yield _Record(topics.RECEIPTS.name, key, value, self._partition)
            if receipt.status == "failed":
                event = encode_event(failure_event(receipt))
                yield _Record(topics.EVENTS.name, key, event, self._partition)
        for source, reject in page.rejects:
            yield _Record(topics.REJECTED.name, source, encode_rejected(reject), None)

    def _entries(self, page: Page) -> Iterator[_Record]:
        for entry in page.entries:
            value = encode_entry(entry)
            yield _Record(topics.LEDGER.name, entry.touch_id.encode(), value, self._partition)

    async def close(self) -> None:
        """Close the connections; what is not committed is left to the successor."""
        # A task of its own, because a broker that is away would hold the flush for ever.
        closing = asyncio.create_task(self._producer.stop())
        await asyncio.wait({closing}, timeout=_CLOSE_S)
        if not closing.done():
            closing.cancel()
        elif not closing.cancelled():
            closing.exception()  # looked at: the ledger shows what was not committed


async def restore_ledger(settings: Settings, partition: int) -> tuple[Ledger, int]:
    """Read a partition's ledger from its topic; also return how many records are unreadable.

    To be called after `Journal.open`: only then can no other writer add to it.
    """
    ledger, unreadable = Ledger(), 0
    tp = TopicPartition(topics.LEDGER.name, partition)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            for records in (await consumer.getmany(timeout_ms=200, max_records=5000)).values():
                unreadable += sum(not ledger.apply_record(r.key, r.value) for r in records)
    except KafkaError as error:
        raise BrokerUnavailable(topics.LEDGER.name, repr(error)) from error
    finally:
        await consumer.stop()
    return ledger, unreadable
