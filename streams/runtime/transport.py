"""A Faust transport that hands an agent one message per partition and fetch.

The value of such a message is a ``Batch``: the records of one partition in log
order. Only the topics given as *batched* are coalesced; every other topic keeps
Faust's one message per record. Offsets are committed by the lanes, in the same
transaction as what the records produced (see ``streams.runtime.lane``); Faust's own
commit, which can pass unprocessed work, is switched off for the whole consumer.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar, Final

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from yarl import URL

from streams.agents.ports import Batch

# Faust's driver has 1500 ms: a long poll on one idle partition would hold back
# every other partition of the same broker node for that long.
FETCH_MAX_WAIT_MS: Final = 50
# How long one drain waits when nothing is there or every partition is paused.
POLL_S: Final = 0.05


class MicroBatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with short long-polls and committed reads only."""

    transport: "MicroBatchTransport"

    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401 - aiokafka is untyped
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # noqa: SLF001 - Faust hard-codes it
        consumer._isolation_level = self.transport.isolation_level  # noqa: SLF001 - as above
        return consumer


class MicroBatchConsumer(driver.Consumer):
    """Yields ``(tp, message)`` with a ``Batch`` as the value for batched topics."""

    transport: "MicroBatchTransport"

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Faust's signature
        super().__init__(*args, **kwargs)
        self._next_of: dict[TP, int] = {}

    def _new_consumer_thread(self) -> MicroBatchConsumerThread:
        return MicroBatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ARG002, ASYNC109 - Faust's signature; its 1 s would be a pause
        """Fetch once; one message per partition for batched topics."""
        generation = self.app.consumer_generation_id
        records, active = await self._wait_next_records(POLL_S)
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
                yield tp, message

    def _interrupted(self, generation: int) -> bool:
        return not self.flow_active or bool(self.app.consumer_generation_id != generation)

    def _messages(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        for tp, found in records.items():
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if tp.topic in self.transport.batched:
                yield tp, self._batch(tp, found)
            else:
                for record in found:
                    yield tp, self._to_message(tp, record)

    def _batch(self, tp: TP, records: list[Any]) -> Any:  # noqa: ANN401 - Faust's message
        batch = Batch(tp.topic, tp.partition, records, self._next_of.get(tp))
        self._next_of[tp] = batch.next_offset
        message: Any = self._to_message(tp, records[0])
        message.value = batch
        batch.generation = message.generation_id
        return message

    async def perform_seek(self) -> None:
        """Seek to the committed offsets; the chain of batches starts anew."""
        self._next_of.clear()
        await super().perform_seek()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget where the revoked partitions stood."""
        for tp in revoked:
            self._next_of.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps (compaction, transaction markers) need no book-keeping: lanes commit."""

    def ack(self, message: Any) -> bool:  # noqa: ANN401 - Faust's message
        """Note that a stream is done with a message; commits are the lanes' work."""
        self._unacked_messages.discard(message)
        message.acked = True
        return True

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ANN401, FBT001, FBT002, ARG002 - Faust's signature
        """Do nothing: a lane commits its offset together with its output."""
        return False

    async def commit_offset(self, tp: TP, offset: int) -> None:
        """Commit one offset outside a transaction (brokers that have none)."""
        await self._thread.commit({tp: offset})


class MicroBatchTransport(driver.Transport):
    """Transport for ``kafka://``; also the entry point ``siyu`` of ``faust.transports``."""

    Consumer: ClassVar[type] = MicroBatchConsumer
    batched: frozenset[str] = frozenset()
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
    app: faust.App, bootstrap: str, topics: frozenset[str], *, committed_only: bool
) -> None:
    """Give *app* the micro-batch transport on a bootstrap string for these topics."""
    urls = [URL(f"kafka://{server.strip()}") for server in bootstrap.split(",")]
    transport = MicroBatchTransport(urls, app)
    transport.batched = topics
    transport.isolation_level = "read_committed" if committed_only else "read_uncommitted"
    app.transport = transport
