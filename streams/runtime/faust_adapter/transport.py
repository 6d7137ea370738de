"""A Faust transport that hands an agent one message per partition and fetch.

The value of such a message is a ``Batch``: the records of one partition in log
order. Only topics read with ``BatchSchema`` are coalesced; every other topic keeps
Faust's one message per record.

Offsets of *laned* topics are committed by their lanes, in the same transaction as what
the records produced (see ``streams.runtime.lanes.lane``). For any other topic a commit covers
the batches that are done in log order, and never passes one that is not. Faust's own
book-keeping can (0.15.3, its issue 606), so it is replaced.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

import faust
from aiokafka import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode.utils.futures import maybe_async
from yarl import URL

from streams.agents.ports import Batch
from streams.kafka_client.fetching import last_answer, set_fetch_options, space_fetches
from streams.kafka_client.group_commits import commit_in_generation
from streams.kafka_client.raw_records import keep_raw_records

# A long poll holds back the partitions of its broker node whose last records were being taken
# when it was sent: whatever comes for them meanwhile waits for it. Faust's driver has 1500 ms.
FETCH_MAX_WAIT_MS: Final = 20
# From one fetch to the next, at the least. The broker answers as soon as one partition has a
# record; a fetch for each few of them is a tenth of all that is done at half of the capacity.
FETCH_EVERY_S: Final = 0.006
# Without an answer for this long, it is not known what stands on a partition.
SILENT_MS: Final = 2000
# How long one drain waits when nothing is there or every partition is paused.
POLL_S: Final = 0.05


class MicroBatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer, short of its thread, with short long-polls and committed reads only."""

    transport: "MicroBatchTransport"
    consumer: "MicroBatchConsumer"
    fetched_in = -1  # the group's generation when records were taken last
    _prepared: Any = None  # the consumer whose fetching is ours already

    async def start(self) -> None:
        """Run on the loop of the agents: between two threads, each turn of either waits."""
        self._thread_started.set()
        self._thread_running = self.parent_loop.create_future()
        serving = asyncio.create_task(self._serve(), name="consumer")
        # crash() and the shutdown event announce its end.
        serving.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await self._thread_running
        finally:
            self._thread_running = None

    async def _gather_remaining_tasks(self) -> None:
        """Leave the loop's other tasks alone: they are the agents'."""

    async def call_thread(self, fun: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - mode's signature
        """Call without a hop."""
        return await maybe_async(fun(*args, **kwargs))

    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401 - aiokafka is untyped
        consumer = super()._create_worker_consumer(transport)
        set_fetch_options(
            consumer,
            max_wait_ms=FETCH_MAX_WAIT_MS,
            isolation_level=self.transport.isolation_level,
        )
        return consumer

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Faust's signature
        consumer = args[0]
        if self._prepared is not consumer:
            space_fetches(consumer, FETCH_EVERY_S)
            keep_raw_records(consumer, self.consumer.is_coalesced)
            self._prepared = consumer
        records = await super()._fetch_records(*args, **kwargs)
        self.fetched_in = self.app.consumer_generation_id
        return records

    async def claim(self, at: TopicPartition, offset: int, owner: str, generation: int) -> None:
        """Commit an offset with its owner, as a member of one generation and no other."""
        commit = OffsetAndMetadata(offset, owner)
        await commit_in_generation(self._ensure_consumer(), at, commit, generation=generation)


@dataclass(slots=True)
class _InFlight:
    next_offset: int
    done: bool = False


class MicroBatchConsumer(driver.Consumer):
    """Yields ``(tp, message)`` with a ``Batch`` as the value for batched topics."""

    transport: "MicroBatchTransport"
    _thread: MicroBatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Faust's signature
        super().__init__(*args, **kwargs)
        self._next_of: dict[TP, int] = {}
        self._in_flight: dict[TP, OrderedDict[int, _InFlight]] = {}
        self._coalesced: dict[str, bool] = {}

    def _new_consumer_thread(self) -> MicroBatchConsumerThread:
        return MicroBatchConsumerThread(
            self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon
        )

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ANN401, ASYNC109 - Faust's signature
        if self.flow_active and not self._get_active_partitions():
            # All are paused, or none is assigned yet: Faust would sleep for a second.
            await asyncio.sleep(POLL_S)
            return {}, self._get_active_partitions()
        return await super()._wait_next_records(timeout)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ARG002, ASYNC109 - Faust's signature; its 1 s would be a pause
        """Fetch once; one message per partition for batched topics."""
        records, active = await self._wait_next_records(POLL_S)
        # Not the generation before the wait: it may have been for a rebalance to end, and
        # records that are dropped after its seek would never be fetched again.
        generation = self._thread.fetched_in
        if not records:
            return
        if not self.flow_active:
            # What was fetched is dropped here, so it must be fetched again.
            await self.perform_seek()
            return
        for tp, message in self._messages(records):
            if self._interrupted(generation):
                return
            if tp in (active or ()) or tp in self._buffered_partitions:
                self._track(tp, message)
                yield tp, message

    def is_readable_to_end(self, tp: TP, wall_ms: int) -> bool:
        """Say whether all of a partition can be read: the broker answers, no transaction is open.

        Only then is it known that nothing came if nothing was read. A partition whose records
        wait to be taken is not fetched, so after a while the answer for it is no, too.
        """
        # Asked from the agents' thread, at any moment of a rebalance.
        consumer = getattr(self._thread, "_consumer", None)
        answer = last_answer(consumer, tp) if consumer is not None else None
        if answer is None or answer.answered_ms is None or wall_ms - answer.answered_ms > SILENT_MS:
            return False
        stable, highwater = answer.last_stable, answer.highwater
        return stable is None or stable < 0 or (highwater is not None and stable >= highwater)

    def _interrupted(self, generation: int) -> bool:
        return not self.flow_active or bool(self.app.consumer_generation_id != generation)

    def _messages(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        for tp, fetched in records.items():
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if self.is_coalesced(tp.topic):
                yield tp, self._batch(tp, fetched)
            else:
                for record in fetched:
                    yield tp, self._to_message(tp, record)

    def _batch(self, tp: TP, records: list[Any]) -> Any:  # noqa: ANN401 - Faust's message
        batch = Batch(tp.topic, tp.partition, records, self._next_of.get(tp))
        self._next_of[tp] = batch.next_offset
        first, generation = records[0], self.app.consumer_generation_id
        batch.generation = generation
        # No record's own key, headers or checksum stand for a batch.
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            first.offset,
            first.timestamp / 1000.0,
            first.timestamp_type,
            [],
            None,
            cast("bytes", batch),  # BatchSchema passes it through
            None,
            -1,
            -1,
            tp,
            generation_id=generation,
        )

    def is_coalesced(self, name: str) -> bool:
        """Tell whether a topic is handed over in batches."""
        if name not in self._coalesced:
            readers = [topic for topic in self.app.topics if name in topic.topics]
            self._coalesced[name] = any(isinstance(t.schema, BatchSchema) for t in readers)
        return self._coalesced[name]

    # -- what is done, in log order ------------------------------------------------

    def _track(self, tp: TP, message: Any) -> None:  # noqa: ANN401 - Faust's message
        if tp.topic in self.transport.laned:
            return
        batch = message.value if isinstance(message.value, Batch) else None
        next_offset = batch.next_offset if batch else message.offset + 1
        self._in_flight.setdefault(tp, OrderedDict())[message.offset] = _InFlight(next_offset)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:  # noqa: ANN401 - Faust's
        for tp in list(self._acked):
            if tp.topic in self.transport.laned:
                self._take_acked(tp)
            elif topics is None or tp in topics or tp.topic in topics:
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        in_flight = self._in_flight.get(tp, OrderedDict())
        for offset in self._take_acked(tp):
            if offset in in_flight:
                in_flight[offset].done = True
        behind = None
        while in_flight:
            first, entry = next(iter(in_flight.items()))
            if not entry.done:
                break
            behind = entry.next_offset
            del in_flight[first]
        return behind

    def _take_acked(self, tp: TP) -> list[int]:
        # Faust's compiled streams write acks straight into these two, past any method.
        taken: list[int] = self._acked.pop(tp, [])
        self._acked_index.pop(tp, None)
        return taken

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps (compaction, transaction markers) need no book-keeping here."""

    async def perform_seek(self) -> None:
        """Seek to the committed offsets; the chain of batches starts anew."""
        self._next_of.clear()
        self._in_flight.clear()
        await super().perform_seek()
        # The first batch follows what is committed: a lane that stands before it sees a hole.
        committed = {tp: self._read_offset[tp] for tp in self.assignment()}
        self._next_of.update({tp: offset for tp, offset in committed.items() if offset})

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget where the revoked partitions stood."""
        for tp in revoked:
            self._next_of.pop(tp, None)
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._in_flight.pop(tp, None)

    async def commit_offset(self, at: TopicPartition, offset: int) -> None:
        """Commit one offset outside a transaction (brokers that have none)."""
        await self._thread.commit({TP(at.topic, at.partition): offset})

    async def claim(self, at: TopicPartition, offset: int, owner: str, generation: int) -> None:
        """Commit an offset with its owner, as a member of one generation and no other."""
        await self._thread.claim(at, offset, owner, generation)


@dataclass(frozen=True, slots=True)
class WorkerMembership:
    """This worker in one generation of its group; implements ``committer.GroupMember``."""

    consumer: MicroBatchConsumer
    generation: int

    async def claim(self, at: TopicPartition, offset: int, owner: str) -> None:
        """Commit an offset with its owner; an error of the group if this generation is over."""
        await self.consumer.claim(at, offset, owner, self.generation)

    async def commit(self, at: TopicPartition, offset: int) -> None:
        """Commit an offset outside a transaction."""
        await self.consumer.commit_offset(at, offset)


class MicroBatchTransport(driver.Transport):
    """Faust's Kafka transport with micro-batches; entry point ``siyu`` of ``faust.transports``."""

    Consumer: ClassVar[type] = MicroBatchConsumer
    laned: frozenset[str] = frozenset()
    isolation_level: str = "read_committed"


class BatchSchema(faust.Schema[Any, Any]):
    """Passes a ``Batch`` through to the agent without decoding."""

    def compile(self, app: Any, **_: Any) -> Any:  # noqa: ANN401 - Faust's signature
        """Return the decoder of one message."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ANN401, ARG001 - Faust's
            return create_event(None, message.value, message.headers, message)

        return decode


def use_micro_batches(
    app: faust.App, bootstrap: str, topics: frozenset[str], *, isolation_level: str
) -> None:
    """Give *app* the transport; lanes commit the offsets of *topics*."""
    urls = [URL(f"kafka://{server.strip()}") for server in bootstrap.split(",")]
    transport = MicroBatchTransport(urls, app)
    transport.laned = topics
    transport.isolation_level = isolation_level
    app.transport = transport
