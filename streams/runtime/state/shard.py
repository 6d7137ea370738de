"""Per-key state of one partition: a store of committed values, and what is not committed yet.

A value is ``version, source offset, next timer, packed state``: the offset guards
against applying a record twice, the timer rebuilds the partition's heap on restore.
"""

import asyncio
import heapq
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.crash import crash_point
from schemas.errors import BrokerUnavailable, ConfigInvalid
from streams.runtime.progress import RestoreProgress
from streams.runtime.state.store import Store

VERSION: Final = 1
_HEADER: Final = struct.Struct("<Bqq")
_PACK: Final = _HEADER.pack
HEADER_BYTES: Final = _HEADER.size
NO_TIMER: Final = -1
# A restore that reads nothing for this long has lost its broker.
_STALLED_S: Final = 60.0
# What a restore applies at once: the loop must stay free for the other lanes.
RESTORE_RECORDS: Final = 20_000


def pack_value(packed: bytes, *, offset: int, timer_ms: int | None) -> bytes:
    """Return a changelog value: header and packed state."""
    return _HEADER.pack(VERSION, offset, NO_TIMER if timer_ms is None else timer_ms) + packed


def offset_of(value: bytes) -> int:
    """Return the source offset in a changelog value."""
    return int(_HEADER.unpack_from(value)[1])


def timer_of(value: bytes) -> int:
    """Return the time of the next timer in a changelog value, ``NO_TIMER`` if none."""
    return int(_HEADER.unpack_from(value)[2])


class Shard:
    """The state of one partition, and the timers its keys wait for."""

    def __init__(self, name: str, partition: int, store: Store) -> None:
        self.name, self.partition, self.store = name, partition, store
        self._dirty: dict[bytes, bytes] = {}  # since the last commit began
        self._committing: dict[bytes, bytes] = {}
        self._stored = store.get
        self._heap: list[tuple[int, bytes]] = []

    def _value(self, key: bytes) -> bytes | None:
        value = self._dirty.get(key)
        if value is None:
            value = self._committing.get(key)
            if value is None:
                value = self._stored(key)
        return value

    def get(self, key: bytes, /) -> bytes | None:
        """Return the packed state of a key."""
        value = self._value(key)
        return None if value is None else value[HEADER_BYTES:]

    def offset(self, key: bytes, /) -> int:
        """Return the offset of the last record applied to a key, -1 if none."""
        value = self._value(key)
        return -1 if value is None else offset_of(value)

    def put(self, key: bytes, packed: bytes, *, offset: int, timer_ms: int | None) -> None:
        """Set a key's state and mark it dirty."""
        if timer_ms is None:
            timer_ms = NO_TIMER
        else:
            value = self._value(key)
            if value is None or timer_of(value) != timer_ms:
                heapq.heappush(self._heap, (timer_ms, key))
        # As pack_value, without the call: each event comes through here.
        self._dirty[key] = _PACK(VERSION, offset, timer_ms) + packed

    def keys(self) -> Iterator[bytes]:
        """Yield the keys, also those that are not committed; some twice if they move on."""
        # In the order in which a key moves on, so that none is passed over.
        yield from list(self._dirty)
        yield from list(self._committing)
        yield from self.store.keys()

    @property
    def timers(self) -> int:
        """How many timers wait, those included that their key has moved since."""
        return len(self._heap)

    def next_due_ms(self) -> int | None:
        """Return when the next timer is due, or was before it moved; ``None`` without timers."""
        return self._heap[0][0] if self._heap else None

    @property
    def dirty(self) -> int:
        """How many keys changed since the last commit began."""
        return len(self._dirty)

    def begin_commit(self) -> dict[bytes, bytes]:
        """Return the keys that changed since the last call, with their whole values."""
        self._committing, self._dirty = self._dirty, {}
        return self._committing

    def end_commit(self, position: int) -> None:
        """Move what was committed to the store; *position* is behind it in the changelog."""
        if self._committing:
            self.store.apply(self._committing, position)
            self._committing = {}

    def due(self, now_ms: int, limit: int) -> Iterator[bytes]:
        """Yield up to *limit* keys whose timer is due; a moved timer is passed over."""
        while limit and self._heap and self._heap[0][0] <= now_ms:
            timer, key = heapq.heappop(self._heap)
            value = self._value(key)
            if value is not None and timer_of(value) == timer:
                limit -= 1
                yield key

    def load(self, records: Iterable[Any], position: int) -> None:
        """Take changelog records; a lower source offset never replaces a higher one."""
        latest: dict[bytes, bytes | None] = {}
        for record in records:
            key, value = record.key, record.value
            if value is not None:
                self._check_version(value)
                stored = latest[key] if key in latest else self.store.get(key)
                if stored is not None and offset_of(stored) > offset_of(value):
                    continue
            latest[key] = value
        self.store.apply(latest, position)

    def forget_uncommitted(self) -> None:
        """Drop what was never committed."""
        self._dirty, self._committing = {}, {}

    async def loaded(self) -> None:
        """Build the heap of timers, in slices, so that the loop can send the group's heartbeats."""
        self.forget_uncommitted()
        heap: list[tuple[int, bytes]] = []
        for n, (key, value) in enumerate(self.store.items()):
            if n % RESTORE_RECORDS == RESTORE_RECORDS - 1:
                await asyncio.sleep(0)
            timer_ms = timer_of(value)
            if timer_ms != NO_TIMER:
                heap.append((timer_ms, key))
        heapq.heapify(heap)
        self._heap = heap

    def _check_version(self, value: bytes) -> None:
        if value[0] != VERSION:
            raise ConfigInvalid(
                f"{self.name}-{self.partition}",
                f"state of version {value[0]}, this program reads {VERSION}",
                hint="run the program that wrote it, or wipe the state topic and replay",
            )


async def restore_shard(shard: Shard, consumer: AIOKafkaConsumer) -> None:
    """Bring a shard to the end of what is committed in its topic; shows progress."""
    tp = TopicPartition(shard.name, shard.partition)
    consumer.assign([tp])
    first = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    if not first <= shard.store.position <= end:
        # Compaction passed the store, or the topic was made anew: its values prove nothing.
        shard.store.clear()
    start = max(first, shard.store.position)
    consumer.seek(tp, start)
    progress = RestoreProgress(shard.name, shard.partition, end - start)
    keys = None
    try:
        await _read_to(shard, consumer, start, end, progress)
        await shard.loaded()
        keys = len(shard.store)
    finally:
        progress.end(keys)


async def _read_to(
    shard: Shard, consumer: AIOKafkaConsumer, start: int, end: int, progress: RestoreProgress
) -> None:
    tp = TopicPartition(shard.name, shard.partition)
    position, moved_s = start, time.monotonic()
    while position < end:
        fetched = await consumer.getmany(tp, timeout_ms=200, max_records=RESTORE_RECORDS)
        before, position = position, await consumer.position(tp)
        shard.load(fetched.get(tp, ()), position)
        if position < end:
            crash_point("worker.restoring")
        if position > before:
            moved_s = time.monotonic()
        elif time.monotonic() - moved_s > _STALLED_S:
            raise BrokerUnavailable(shard.name, f"restore stands at {position} of {end}")
        progress.at(position - start, len(shard.store))
