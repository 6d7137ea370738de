"""How a producer sends: where a key goes, the pause between transactions, the sender's end."""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from aiokafka.producer import sender

# What a transaction waits when the one before is not quite ended on the broker: its markers
# take some 2 ms, aiokafka 0.14 waits for 20 and has no setting.
_TRANSACTION_PAUSE_S: Final = 0.003


@lru_cache(maxsize=100_000)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key, as the Java client and kafka-python choose it."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def shorten_transaction_pause() -> None:
    """Let every transactional producer of this process go on sooner; may be called again."""
    sender.BACKOFF_OVERRIDE = _TRANSACTION_PAUSE_S


def on_sender_end(producer: AIOKafkaProducer, ended: Callable[[], None]) -> None:
    """Call *ended* when a started producer can send no more.

    Its sender task (``_sender.sender_task``) is private, and the only place that shows a
    fatal error.
    """
    producer._sender.sender_task.add_done_callback(lambda _: ended())


def cancel_sender(producer: AIOKafkaProducer) -> None:
    """Stop what a ``stop()`` that ran out of time left running.

    An idempotent sender retries for ever, also when nobody waits for it any more.
    """
    task: asyncio.Task[None] | None = producer._sender.sender_task
    if task is not None:
        task.cancel()
