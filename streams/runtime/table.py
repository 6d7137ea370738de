"""Per-key state of one partition: packed values in memory, a compacted topic behind them.

A value is ``version, source offset, next timer, packed state``: the offset guards
against applying a record twice, the timer rebuilds the partition's heap on restore.
"""

import heapq
import struct
import time
from collections.abc import Iterator
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.errors import BrokerUnavailable, ConfigInvalid

log = structlog.get_logger()

VERSION: Final = 1
_HEADER: Final = struct.Struct("<Bqq")
NO_TIMER: Final = -1
_PROGRESS_EVERY_S: Final = 2.0
# A restore that reads nothing for this long has lost its broker.
_STALLED_S: Final = 60.0


class Shard:
    """The state of one partition, and the timers its keys wait for."""

    def __init__(self, name: str, partition: int) -> None:
        self.name, self.partition = name, partition
        self._values: dict[bytes, bytes] = {}
        self._heap: list[tuple[int, bytes]] = []
        self._dirty: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: bytes) -> bytes | None:
        """Return the packed state of a key."""
        value = self._values.get(key)
        return None if value is None else value[_HEADER.size :]

    def offset(self, key: bytes) -> int:
        """Return the offset of the last record applied to a key, -1 if none."""
        value = self._values.get(key)
        return -1 if value is None else int(_HEADER.unpack_from(value)[1])

    def put(self, key: bytes, packed: bytes, *, offset: int, timer_ms: int | None) -> None:
        """Set a key's state and mark it dirty."""
        timer = NO_TIMER if timer_ms is None else timer_ms
        held = self._values.get(key)
        self._values[key] = _HEADER.pack(VERSION, offset, timer) + packed
        self._dirty.add(key)
        if timer != NO_TIMER and (held is None or _HEADER.unpack_from(held)[2] != timer):
            heapq.heappush(self._heap, (timer, key))

    @property
    def dirty(self) -> bool:
        """Tell whether a key changed since ``take_dirty``."""
        return bool(self._dirty)

    def take_dirty(self) -> list[tuple[bytes, bytes]]:
        """Return the keys that changed since the last call, with their whole values."""
        taken = [(key, self._values[key]) for key in self._dirty]
        self._dirty.clear()
        return taken

    def due(self, now_ms: int, limit: int) -> Iterator[bytes]:
        """Yield up to *limit* keys whose timer is due; a moved timer is passed over."""
        while limit and self._heap and self._heap[0][0] <= now_ms:
            timer, key = heapq.heappop(self._heap)
            value = self._values.get(key)
            if value is not None and _HEADER.unpack_from(value)[2] == timer:
                limit -= 1
                yield key

    def next_timer_ms(self) -> int | None:
        """Return the earliest time that may be due, ``None`` if no key waits."""
        return self._heap[0][0] if self._heap else None

    def load(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the changelog; an older offset never replaces a newer one."""
        if value is None:
            self._values.pop(key, None)
            return
        version, offset, _ = _HEADER.unpack_from(value)
        if version != VERSION:
            raise ConfigInvalid(
                f"{self.name}-{self.partition}",
                f"state of version {version}, this program reads {VERSION}",
                hint="run the program that wrote it, or wipe the state topic and replay",
            )
        if self.offset(key) <= offset:
            self._values[key] = value

    def loaded(self) -> None:
        """Build the heap once the changelog has been read."""
        timers = ((int(_HEADER.unpack_from(v)[2]), k) for k, v in self._values.items())
        self._heap = [entry for entry in timers if entry[0] != NO_TIMER]
        heapq.heapify(self._heap)


async def restore(shard: Shard, consumer: AIOKafkaConsumer) -> None:
    """Fill a shard from its topic up to the end of what is committed; shows progress."""
    tp = TopicPartition(shard.name, shard.partition)
    consumer.assign([tp])
    await consumer.seek_to_beginning(tp)
    end = (await consumer.end_offsets([tp]))[tp]
    began = told = moved = time.monotonic()
    position = await consumer.position(tp)
    while position < end:
        fetched = await consumer.getmany(tp, timeout_ms=200, max_records=20_000)
        for record in fetched.get(tp, ()):
            shard.load(record.key, record.value)
        now, before = time.monotonic(), position
        position = await consumer.position(tp)
        moved = now if position > before else moved
        if now - moved > _STALLED_S:
            raise BrokerUnavailable(shard.name, f"restore stands at {position} of {end}")
        if now - told > _PROGRESS_EVERY_S:
            told = now
            log.info("restoring", topic=shard.name, partition=shard.partition,
                     percent=round(100 * position / end), keys=len(shard))  # fmt: skip
    shard.loaded()
    log.info("restored", topic=shard.name, partition=shard.partition, keys=len(shard),
             seconds=round(time.monotonic() - began, 2))  # fmt: skip
