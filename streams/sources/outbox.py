"""Records of many requests, sent together: one batch for each partition is on its way at a time.

While a batch waits for its ack the next one gathers, so the batches grow with the load,
and a request waits for one future instead of one for each of its records.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import topics
from schemas.errors import BrokerUnavailable
from streams.kafka_client.producing import partition_of
from streams.sources.records import Record

# Records wait this long for others, and this long after those before: a broker pays for each
# request, and under load small ones are most of what it does.
_LINGER_S: Final = 0.002
_SEND_EVERY_S: Final = 0.006
_BELIEVED_S: Final = 30.0
Fatal = Callable[[Exception], None]


class _Ticket:
    """What one request waits for: the acks of all its records, or the first failure."""

    __slots__ = ("future", "unacked")

    def __init__(self, records: int) -> None:
        self.unacked = records
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def acked(self, records: int) -> None:
        self.unacked -= records
        if not self.unacked and not self.future.done():
            self.future.set_result(None)

    def fail(self, error: BrokerUnavailable) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            # A request that has been answered already does not look.
            self.future.exception()


class _PartitionQueue:
    """What waits for one partition, and whether a batch of it is on its way."""

    __slots__ = ("busy", "partition", "queue", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition, self.busy = topic, partition, False
        self.queue: deque[tuple[Record, _Ticket]] = deque()


class Outbox:
    """The way out through one producer; ``fatal`` is called when that can send no more."""

    def __init__(self, producer: AIOKafkaProducer, fatal: Fatal) -> None:
        self._producer, self._fatal = producer, fatal
        self._lanes: dict[tuple[str, int], _PartitionQueue] = {}
        # Topic -> its partitions, and the loop's time until which that is believed.
        self._counts: dict[str, tuple[int, float]] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._send_forever())

    async def put(self, records: Sequence[Record]) -> None:
        """Return once all records are acked by all replicas; raises ``BrokerUnavailable``."""
        if not records:
            return
        counts = {name: await self._partitions(name) for name in {r.topic for r in records}}
        ticket = _Ticket(len(records))
        for record in records:
            place = record.topic, partition_of(record.key, counts[record.topic])
            lane = self._lanes.get(place) or self._lanes.setdefault(place, _PartitionQueue(*place))
            lane.queue.append((record, ticket))
        self._wake.set()
        await ticket.future

    def close(self) -> None:
        """Fail all that waits; what is on its way may still arrive."""
        for task in self._tasks:
            task.cancel()
        gone = BrokerUnavailable(topics.RAW.name, "the connection was lost")
        for lane in self._lanes.values():
            for _, ticket in lane.queue:
                ticket.fail(gone)

    async def _partitions(self, topic: str) -> int:
        now_s = asyncio.get_running_loop().time()
        count, until_s = self._counts.get(topic, (0, 0.0))
        if now_s < until_s:
            return count
        try:
            count = len(await self._producer.partitions_for(topic))
        except KafkaError as error:
            raise BrokerUnavailable(topic, str(error)) from error
        self._counts[topic] = count, now_s + _BELIEVED_S
        return count

    async def _send_forever(self) -> None:
        sent_s, clock = 0.0, asyncio.get_running_loop().time
        while True:
            await self._wake.wait()
            await asyncio.sleep(max(_LINGER_S, sent_s + _SEND_EVERY_S - clock()))
            self._wake.clear()
            sent_s = clock()
            for lane in self._lanes.values():
                if lane.queue and not lane.busy:
                    lane.busy = True
                    self._spawn(self._send(lane))

    async def _send(self, lane: _PartitionQueue) -> None:
        batch, tickets = self._producer.create_batch(), dict[_Ticket, int]()
        queue = lane.queue
        while queue:
            record, ticket = queue[0]
            # Its client has had an error and sends all of it again.
            if not ticket.future.done():
                if (
                    batch.append(
                        key=record.key, value=record.value, timestamp=None, headers=record.headers
                    )
                    is None
                ):
                    break
                tickets[ticket] = tickets.get(ticket, 0) + 1
            queue.popleft()
        try:
            if tickets:
                await self._await_ack(batch, lane, tickets)
        finally:
            lane.busy = False
            if queue:
                self._wake.set()

    async def _await_ack(
        self, batch: object, lane: _PartitionQueue, tickets: dict[_Ticket, int]
    ) -> None:
        try:
            ack = await self._producer.send_batch(batch, lane.topic, partition=lane.partition)
            await ack
        except KafkaError as error:
            self._fail(tickets, BrokerUnavailable(lane.topic, str(error)))
            # A batch that failed for good leaves a gap in the producer's sequence, after which
            # the broker refuses all that follow: only a new producer id helps.
            if not error.retriable:
                self._fatal(error)
        except asyncio.CancelledError:
            self._fail(tickets, BrokerUnavailable(lane.topic, "the connection was lost"))
            raise
        else:
            for ticket, records in tickets.items():
                ticket.acked(records)

    @staticmethod
    def _fail(tickets: dict[_Ticket, int], error: BrokerUnavailable) -> None:
        for ticket in tickets:
            ticket.fail(error)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
