"""Records of a partition into blocks: which ones an insert takes, and when it may go.

No clock and no I/O: times are seconds of any one monotonic clock. A block is whole fetches, as
many as fit, once it is full or its oldest record has waited long enough; a promised range is
cut to its last offset, whatever its size, before anything else.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from sinks.clickhouse.rows import Record

# How many times the delay of a small block a full one may take to come in.
_BEHIND_FACTOR: Final = 4
# A block of bigger bytes than this gains nothing and costs memory in two places.
MAX_BLOCK_BYTES: Final = 48 * 1024 * 1024


class _Fetch(NamedTuple):
    """Records that came in one go, and the bytes of their values."""

    records: Sequence[Record]
    size: int


def _fetch(records: Sequence[Record]) -> _Fetch:
    return _Fetch(records, sum([len(record.value or b"") for record in records]))


class Batcher:
    """Holds the records of one partition, in order of offset, until they are taken as blocks."""

    def __init__(self, *, max_rows: int, max_delay_s: float) -> None:
        self.buffered_bytes = 0
        self._max_rows, self._max_delay_s = max_rows, max_delay_s
        self._fetches: deque[_Fetch] = deque()
        self._buffered = 0
        self._behind = False
        self._oldest_s = 0.0
        self._next_offset = 0
        self._promised: int | None = None

    @property
    def empty(self) -> bool:
        """Whether all that was fed has been taken."""
        return not self._fetches

    @property
    def owes(self) -> bool:
        """Whether a range is promised that has not all been fed: do not pause."""
        return self._promised is not None and self._next_offset <= self._promised

    @property
    def full(self) -> bool:
        """Whether a whole block is waiting, so that the partition can pause."""
        if self.owes:
            return False
        return self._buffered >= self._max_rows or self.buffered_bytes >= MAX_BLOCK_BYTES

    def feed(self, records: Sequence[Record], *, now_s: float, to_come: int = 0) -> None:
        """Take the next records; *to_come* as many more lie on the log.

        Raises ``ValueError`` if an offset comes a second time.
        """
        if records[0].offset < self._next_offset:
            raise ValueError(f"offset {records[0].offset} came a second time")
        self._next_offset = records[-1].offset + 1
        if not self._fetches:
            self._oldest_s = now_s
        fetch = _fetch(records)
        self._fetches.append(fetch)
        self._buffered += len(records)
        self.buffered_bytes += fetch.size
        # What fills a block is there: a full one costs ClickHouse less than several small ones.
        self._behind = self._buffered + to_come >= self._max_rows

    def promise(self, last: int) -> None:
        """Make all up to an offset the next block, whatever its size."""
        self._promised = last

    def hurry(self) -> bool:
        """Wait for no fuller block; tell whether one was waited for."""
        behind, self._behind = self._behind, False
        return behind

    def due_in_s(self, now_s: float) -> float | None:
        """Return when a block may be taken, 0 if now; ``None``: not before more is fed."""
        if not self._fetches:
            return None
        if self._promised is not None:
            return 0.0 if self._fetches[-1].records[-1].offset >= self._promised else None
        if self.full:
            return 0.0
        patience_s = self._max_delay_s * (_BEHIND_FACTOR if self._behind else 1)
        return max(0.0, self._oldest_s + patience_s - now_s)

    def take(self, *, now_s: float) -> list[Record]:
        """Return the next block; empty if the log holds nothing of the promised range any more."""
        last, self._promised = self._promised, None
        fetches = list(self._fitting() if last is None else self._up_to(last))
        self._buffered -= sum(len(fetch.records) for fetch in fetches)
        self.buffered_bytes -= sum(fetch.size for fetch in fetches)
        self._oldest_s = now_s
        return [record for fetch in fetches for record in fetch.records]

    def _fitting(self) -> Iterator[_Fetch]:
        """Take whole fetches, as many as fit into a block; the first in any case."""
        rows = size = 0
        while self._fetches:
            fetch = self._fetches[0]
            if rows and (
                rows + len(fetch.records) > self._max_rows or size + fetch.size > MAX_BLOCK_BYTES
            ):
                return
            rows, size = rows + len(fetch.records), size + fetch.size
            yield self._fetches.popleft()

    def _up_to(self, last: int) -> Iterator[_Fetch]:
        """Take all up to an offset, and no more."""
        while self._fetches and self._fetches[0].records[0].offset <= last:
            records = self._fetches.popleft().records
            n = bisect_right(records, last, key=attrgetter("offset"))
            if n < len(records):
                self._fetches.appendleft(_fetch(records[n:]))
            yield _fetch(records[:n])
