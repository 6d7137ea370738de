"""Producers of the worker."""

from collections.abc import Iterable
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from streams.kafka_client.producing import shorten_transaction_pause
from streams.runtime.lanes.fair_queue import FairQueue

BATCH_BYTES: Final = 512 * 1024
# Above the topics' max.message.bytes nothing is accepted anyway.
REQUEST_BYTES: Final = 4 * 1024 * 1024
# Records packed at a time, some half a millisecond.
_PIECE: Final = 250

# Key, value, headers of a record whose topic and partition are known.
Unaddressed = tuple[bytes | None, bytes, list[tuple[str, bytes]]]
NO_HEADERS: Final[list[tuple[str, bytes]]] = []


def new_producer(settings: Settings, *, transactional_id: str | None) -> AIOKafkaProducer:
    """Return an unstarted producer with acks=all; with an id it fences its predecessor."""
    shorten_transaction_pause()
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka,
        acks="all",
        enable_idempotence=settings.kafka_transactions,
        transactional_id=transactional_id,
        max_batch_size=BATCH_BYTES,
        max_request_size=REQUEST_BYTES,
        linger_ms=0,
        request_timeout_ms=20_000,
        transaction_timeout_ms=60_000,
    )


async def send_all(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Iterable[Unaddressed],
    queue: FairQueue | None = None,
) -> int:
    """Send records of one partition by the batch builder; returns the offset behind the last.

    Returns when all are acked; -1 where nothing was sent. Raises ``ConfigInvalid`` where the
    topic takes no record of that size, and aiokafka's errors. With a *queue*, many records are
    packed in pieces, between which others have their turn.
    """
    futures = []
    batch = producer.create_batch()
    append = batch.append
    for number, (key, value, headers) in enumerate(records, 1):
        if queue is not None and number % _PIECE == 0:
            await queue.next_turn()
        if append(key=key, value=value, timestamp=None, headers=headers) is None:
            count = batch.record_count()
            futures.append((count, await producer.send_batch(batch, topic, partition=partition)))
            batch = producer.create_batch()
            append = batch.append
            append(key=key, value=value, timestamp=None, headers=headers)
    if count := batch.record_count():
        futures.append((count, await producer.send_batch(batch, topic, partition=partition)))
    behind = -1
    try:
        for count, future in futures:
            behind = (await future).offset + count
    except MessageSizeTooLargeError as refused:
        raise ConfigInvalid(
            f"{topic}-{partition}",
            "the broker refuses an output: it is larger than the topic takes",
            hint="raise the topic's max.message.bytes, then start again",
        ) from refused
    return behind
