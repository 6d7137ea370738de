"""Records to Kafka: acked by all replicas, or an error; the connection heals by itself."""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import topics
from schemas.errors import BrokerUnavailable
from streams.kafka_client.producing import cancel_sender, on_sender_end
from streams.sources.outbox import Outbox
from streams.sources.records import Record

_REQUEST_TIMEOUT_MS: Final = 8000
_START_TIMEOUT_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 5.0
_RETRY_AFTER_S: Final = 1.0
_PROBE_TIMEOUT_S: Final = 2.0

log = structlog.get_logger(__name__)


class Publisher:
    """A producer that comes up, and comes back, whenever the broker does.

    It is idempotent, except for a broker that has no producer ids (the stand-in).
    """

    def __init__(self, bootstrap: str, *, idempotent: bool = True) -> None:
        self._bootstrap, self._idempotent = bootstrap, idempotent
        self._producer: AIOKafkaProducer | None = None
        self._outbox: Outbox | None = None
        self._broken = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect, in the background: the edge answers 503 until that has worked."""
        self._keeper = asyncio.create_task(self._keep_connected(), name="keep-connected")

    async def stop(self) -> None:
        """Flush what is in flight, for at most five seconds, and disconnect."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer)
        if self._outbox is not None:
            self._outbox.close()

    async def publish(self, records: Sequence[Record], *, timeout_s: float) -> None:
        """Return once all records are acked by all replicas; else raise ``BrokerUnavailable``.

        After the error some of them may still arrive: the caller sends all of them again
        and the message id collapses the two.
        """
        outbox = self._outbox
        if outbox is None:
            raise BrokerUnavailable(topics.RAW.name, "no connection to the broker yet")
        try:
            async with asyncio.timeout(timeout_s):
                await outbox.put(records)
        except TimeoutError as late:
            raise BrokerUnavailable(topics.RAW.name, f"no ack in {timeout_s:g} s") from late

    async def problem(self) -> str | None:
        """Return why records cannot be stored now, ``None`` if they can."""
        producer = self._producer
        if producer is None:
            return f"no connection to the broker at {self._bootstrap}"
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                cluster = await producer.client.fetch_all_metadata()
        except (TimeoutError, KafkaError) as error:
            return f"the broker at {self._bootstrap} does not answer: {error!r}"
        there = cluster.topics()
        missing = [t.name for t in (topics.RAW, topics.REJECTED) if t.name not in there]
        return f"no topic {' and '.join(missing)}; `siyu up` makes them" if missing else None

    async def _keep_connected(self) -> None:
        while True:
            if self._producer is None:
                self._broken.clear()
                self._producer = await self._connect()
            if self._producer is None:
                await asyncio.sleep(_RETRY_AFTER_S)
            else:
                self._outbox = Outbox(self._producer, partial(self._discard, self._producer))
                await self._broken.wait()

    async def _connect(self) -> AIOKafkaProducer | None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id="siyu-collect",
            acks="all",
            enable_idempotence=self._idempotent,
            linger_ms=0,  # the outbox gathers
            max_batch_size=256 * 1024,
            max_request_size=4 * 1024 * 1024,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
        )
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await producer.start()
        except (TimeoutError, KafkaError, OSError) as error:
            log.warning("broker away", bootstrap=self._bootstrap, error=repr(error))
            await _close(producer)
            return None
        except asyncio.CancelledError:
            await _close(producer)
            raise
        on_sender_end(producer, partial(self._discard, producer, None))
        log.info("broker connected", bootstrap=self._bootstrap)
        return producer

    def _discard(self, producer: AIOKafkaProducer, error: Exception | None) -> None:
        """Let go of a producer that cannot recover; the keeper makes another."""
        if self._producer is not producer:
            return
        log.warning("producer replaced", error=repr(error))
        self._producer = None
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None
        self._broken.set()
        closing = asyncio.create_task(_close(producer))
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)


# The loop holds tasks only weakly.
_closing: Final[set[asyncio.Task[None]]] = set()


async def _close(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await producer.stop()
    except (TimeoutError, KafkaError) as error:
        log.warning("producer not flushed", error=repr(error))
        cancel_sender(producer)
        await producer.client.close()
