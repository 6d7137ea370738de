"""One partition's way into ClickHouse: plan, insert, commit, one contiguous block at a time.

A lane lives from the assignment of its partition to its revocation. Nothing in it is
needed after a crash: the open plan stands in the group's committed offset.
"""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import structlog

from schemas import clock
from schemas.crash import crash_point
from schemas.errors import SinkUnavailable
from sinks.clickhouse.client import RowsRefused
from sinks.clickhouse.plan import LandingPlan, plan_of
from sinks.clickhouse.rows import (
    Part,
    Record,
    Span,
    build_parts,
    by_month,
    reject_part,
    span_of,
)
from sinks.clickhouse.writer import Writer

log = structlog.get_logger("siyu.land")
T = TypeVar("T")
_BACKOFF_MAX_S: Final = 3.0
# How many times the delay of a small block a full one may take to come in.
_BEHIND_FACTOR: Final = 4
# A block of bigger bytes than this gains nothing and costs memory in two places.
MAX_BLOCK_BYTES: Final = 48 * 1024 * 1024
# Tokens are remembered for 100 000 inserts (see the migrations); a plan that stayed open for
# longer than this is checked against the rows themselves before it is trusted to them.
_TRUST_TOKEN_FOR_MS: Final = 3_600_000


class Ledger(Protocol):
    """The group's committed offset of one partition, fenced by the group's generation."""

    async def open_plan(self) -> LandingPlan | None:
        """Return the plan that a predecessor left open."""

    async def commit(self, offset: int, plan: LandingPlan | None) -> None:
        """Commit ``offset``; raises if the partition belongs to somebody else by now."""


class _Fetch(NamedTuple):
    """Records that came in one go, and the bytes of their values."""

    records: Sequence[Record]
    size: int


def _fetch(records: Sequence[Record]) -> _Fetch:
    return _Fetch(records, sum([len(record.value or b"") for record in records]))


class LandingLane:
    """Holds the records of a partition that are not yet in ClickHouse, and writes them."""

    def __init__(
        self,
        topic: str,
        partition: int,
        ledger: Ledger,
        writer: Writer,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        *,
        max_rows: int,
        max_delay_s: float,
    ) -> None:
        self.topic, self.partition = topic, partition
        self.buffered_bytes = 0
        self.rows = 0
        self._ledger, self._writer, self._in_thread = ledger, writer, in_thread
        self._max_rows, self._max_delay_s = max_rows, max_delay_s
        self._fetches: deque[_Fetch] = deque()
        self._buffered = 0
        self._behind = False
        self._fed = asyncio.Event()
        self._oldest_s = 0.0
        self._expected = 0
        self._busy = False
        self._leaving = False
        self._plan: LandingPlan | None = None  # of a predecessor, to be finished first

    @property
    def owes(self) -> bool:
        """Whether a predecessor's plan is open whose range has not all been fed: do not pause."""
        return self._plan is not None and self._expected <= self._plan.last

    @property
    def idle(self) -> bool:
        """Whether all that was fed is in ClickHouse and committed."""
        return not self._fetches and not self._busy

    @property
    def full(self) -> bool:
        """Whether another block is waiting already, so that the partition can pause."""
        if self.owes:
            return False
        return self._buffered >= self._max_rows or self.buffered_bytes >= MAX_BLOCK_BYTES

    def feed(self, records: Sequence[Record], *, to_come: int = 0) -> None:
        """Take the partition's next records, in order of offset; as many more lie on the log."""
        if records[0].offset < self._expected:
            raise RuntimeError(f"{self._who()}: offset {records[0].offset} came a second time")
        self._expected = records[-1].offset + 1
        if not self._fetches:
            self._oldest_s = time.monotonic()
        fetch = _fetch(records)
        self._fetches.append(fetch)
        self._buffered += len(records)
        self.buffered_bytes += fetch.size
        # What fills a block is there: a full one costs ClickHouse less than several small ones.
        self._behind = self._buffered + to_come >= self._max_rows
        self._fed.set()

    def hurry(self) -> None:
        """Wait for no fuller block: the memory for it is not there."""
        if self._behind:
            self._behind = False
            self._fed.set()

    def leave(self) -> None:
        """Ask the lane to end after the block in hand; what is buffered was never promised."""
        self._leaving = True
        self._fed.set()

    async def run(self) -> None:
        """Write blocks until told to leave; the open plan of a predecessor comes first."""
        self._plan = await self._ledger.open_plan()
        while True:
            records = await self._take()
            if not records:
                return
            self._busy = True
            await self._land(records, self._plan)
            self._busy, self._plan = False, None
            self.rows += len(records)

    async def _take(self) -> list[Record]:
        """Return the next block; with a plan, its range and nothing else. Empty: leave."""
        while not self._leaving:
            plan = self._plan
            if self._ready(plan):
                if records := self._cut(plan):
                    return records
                # The log no longer holds any of the planned range (retention).
                log.error("land.plan_lost", **self._who(), last=plan.last if plan else None)
                self._plan = None
                continue
            self._fed.clear()
            left_s = self._oldest_s + self._patience_s() - time.monotonic()
            wait_s = max(left_s, 0.001) if self._fetches and plan is None else None
            try:
                await asyncio.wait_for(self._fed.wait(), wait_s)
            except TimeoutError:
                continue
        return []

    def _ready(self, plan: LandingPlan | None) -> bool:
        if not self._fetches:
            return False
        if plan is not None:
            return self._fetches[-1].records[-1].offset >= plan.last
        return self.full or time.monotonic() >= self._oldest_s + self._patience_s()

    def _patience_s(self) -> float:
        return self._max_delay_s * (_BEHIND_FACTOR if self._behind else 1)

    def _cut(self, plan: LandingPlan | None) -> list[Record]:
        fetches = list(self._fitting() if plan is None else self._planned(plan.last))
        self._buffered -= sum(len(fetch.records) for fetch in fetches)
        self.buffered_bytes -= sum(fetch.size for fetch in fetches)
        self._oldest_s = time.monotonic()
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

    def _planned(self, last: int) -> Iterator[_Fetch]:
        """Take all up to an offset, and no more."""
        while self._fetches and self._fetches[0].records[0].offset <= last:
            records = self._fetches.popleft().records
            n = bisect_right(records, last, key=attrgetter("offset"))
            if n < len(records):
                self._fetches.appendleft(_fetch(records[n:]))
            yield _fetch(records[:n])

    async def _land(self, records: list[Record], plan: LandingPlan | None) -> None:
        span = await self._in_thread(partial(span_of, self.topic, self.partition, records))
        careful = plan is not None and await self._needs_care(plan, span)
        if plan is None:
            crash_point("land.before_plan")
            await self._ledger.commit(span.first, plan_of(span, clock.now_ms()))
            crash_point("land.after_plan")
        try:
            if not careful:
                parts = await self._in_thread(partial(build_parts, span, records))
                await self._insert_all(parts)
        except RowsRefused as refused:
            log.warning("land.block_refused", **self._who(), problem=refused.problem)
            await self._ledger.commit(span.first, plan_of(span, clock.now_ms(), careful=True))
            careful = True
        if careful:
            await self._land_carefully(records)
        crash_point("land.after_insert")
        await self._ledger.commit(span.last + 1, None)
        crash_point("land.after_commit")

    async def _needs_care(self, plan: LandingPlan, span: Span) -> bool:
        """Tell whether an open plan must be finished row by row instead of by its token."""
        who = {**self._who(), "first": span.first, "last": span.last}
        if plan.careful or not plan.matches(span):
            log.warning("land.plan_by_rows", **who, matches=plan.matches(span))
            return True
        if clock.now_ms() - plan.at_ms < _TRUST_TOKEN_FOR_MS:
            log.info("land.plan_resumed", **who)
            return False
        there = await self._patiently(partial(self._writer.landed, span))
        log.warning("land.plan_old", **who, landed=len(there), of=span.n)
        return bool(there)

    async def _land_carefully(self, records: list[Record]) -> None:
        """Insert what is not there yet, in halves, so that a bad row is found and set aside.

        Only whole nodes of one fixed tree are inserted (the block by months, each in halves):
        an insert that a killed predecessor left in flight has the token of the same node.
        """
        queue = deque(by_month(records))
        while queue:
            some = queue.popleft()
            if not await self._taken(some):
                middle = len(some) // 2
                queue.extendleft([some[middle:], some[:middle]])

    async def _taken(self, some: list[Record]) -> bool:
        """Insert what a node lacks; False if it has to be halved. A bad row alone is set aside."""
        span = span_of(self.topic, self.partition, some)
        found: set[int] = await self._patiently(partial(self._writer.landed, span))
        if all(record.offset in found for record in some):
            return True
        crash_point("land.amid_halves")
        parts = build_parts(span, some)
        absent = [part for part in parts if not found.issuperset(part.offsets)]
        if not all(found.isdisjoint(part.offsets) for part in absent):
            return False
        try:
            await self._insert_all(absent)
        except RowsRefused as refused:
            if len(some) > 1:
                return False
            part = reject_part(span, some[0], refused.problem)
            await self._patiently(partial(self._writer.insert, part))
        return True

    async def _insert_all(self, parts: Sequence[Part]) -> None:
        for number, part in enumerate(parts):
            if number:
                crash_point("land.between_parts")
            await self._patiently(partial(self._writer.insert, part))

    async def _patiently(self, call: Callable[[], T]) -> T:
        """Call until the store answers: the same bytes, the same token."""
        backoff_s = 0.2
        while True:
            try:
                result: T = await self._in_thread(call)
            except SinkUnavailable as away:
                log.warning(
                    "land.store_away", **self._who(), problem=str(away), retry_in_s=backoff_s
                )
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, _BACKOFF_MAX_S)
            else:
                return result

    def _who(self) -> dict[str, Any]:
        return {"topic": self.topic, "partition": self.partition}
