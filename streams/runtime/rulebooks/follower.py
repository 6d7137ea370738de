"""Follows the topic ``rulebooks`` on a worker's loop: what was pushed, applied and refused."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import BrokerUnavailable
from schemas.settings import Settings
from schemas.topics import RULEBOOKS
from streams.runtime.rulebooks.published import Published

log = structlog.get_logger()

_TP: Final = TopicPartition(RULEBOOKS.name, 0)
_POLL_MS: Final = 500
_LOOK_S: Final = 0.02
_STALLED_S: Final = 30.0
_RETRY_S: Final = 1.0
_LOOK_BACK: Final = 100


class Follower:
    """Calls ``pushed`` when another version is the newest; ``published`` is what is read so far."""

    def __init__(self, settings: Settings, pushed: Callable[[], Awaitable[None]]) -> None:
        self._settings, self._pushed = settings, pushed
        self.published = Published()
        self._consumer: AIOKafkaConsumer | None = None
        self._position = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read all that is there; raises ``BrokerUnavailable``. Then go on following."""
        self._consumer = consumer = new_reader(self._settings)
        try:
            await consumer.start()
            consumer.assign([_TP])
            await consumer.seek_to_beginning(_TP)
            end = (await consumer.end_offsets([_TP]))[_TP]
            while self._position < end:
                await self._read(consumer)
        except KafkaError as problem:
            raise BrokerUnavailable(RULEBOOKS.name, repr(problem)) from problem
        await self._pushed()
        self._task = asyncio.create_task(self._follow_forever(consumer), name="rulebooks")

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._consumer is not None:
            await self._consumer.stop()

    async def caught_up(self) -> None:
        """Return once all is read that the topic has at this moment."""
        end = 0
        if self._consumer is not None:
            end = (await self._consumer.end_offsets([_TP]))[_TP]
        deadline_s = time.monotonic() + _STALLED_S
        while self._position < end:
            if time.monotonic() > deadline_s:
                raise BrokerUnavailable(RULEBOOKS.name, f"stands at {self._position} of {end}")
            await asyncio.sleep(_LOOK_S)

    async def _follow_forever(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                if await self._read(consumer):
                    await self._pushed()
            except KafkaError as problem:
                # The lanes report a broker that is gone; here nothing is lost by waiting.
                log.warning("rulebooks wait for the broker", problem=repr(problem))
                await asyncio.sleep(_RETRY_S)

    async def _read(self, consumer: AIOKafkaConsumer) -> bool:
        """Take what comes next; say whether the newest version is another one now."""
        fetched = await consumer.getmany(_TP, timeout_ms=_POLL_MS)
        before = self.published.newest
        self.published.take(fetched.get(_TP, ()))
        self._position = await consumer.position(_TP)
        return self.published.newest is not before


def new_reader(settings: Settings) -> AIOKafkaConsumer:
    """Return an unstarted consumer without a group that sees what is committed."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        isolation_level=settings.isolation_level,
        max_partition_fetch_bytes=8 * 1024 * 1024,
        fetch_max_wait_ms=_POLL_MS,
    )


async def end_of(settings: Settings, tp: TopicPartition, low: int) -> int:
    """Return the offset behind the last record of a partition now, or *low* if that is higher."""
    async with new_reader(settings) as consumer:
        consumer.assign([tp])
        end, back = (await consumer.end_offsets([tp]))[tp], _LOOK_BACK
        while True:
            start, last = max(low, end - back), low - 1
            consumer.seek(tp, start)
            # The end may be a marker of a transaction, which is never handed out.
            while start < end and await consumer.position(tp) < end:
                fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS)
                last = max([last, *(record.offset for record in fetched.get(tp, ()))])
            if last >= low or start <= low:
                return last + 1
            back *= 10
