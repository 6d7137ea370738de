"""One partition's way into ClickHouse: plan, insert, commit, one contiguous block at a time.

A lane lives from the assignment of its partition to its revocation. Nothing in it is
needed after a crash: the open plan stands in the group's committed offset.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import structlog

from schemas import clock
from schemas.crash import crash_point
from schemas.errors import SinkUnavailable
from sinks.clickhouse.batcher import Batcher
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
# Tokens are remembered for 100 000 inserts (see the migrations); a plan that stayed open for
# longer than this is checked against the rows themselves before it is trusted to them.
_TRUST_TOKEN_FOR_MS: Final = 3_600_000


class Ledger(Protocol):
    """The group's committed offset of one partition, fenced by the group's generation."""

    async def open_plan(self) -> LandingPlan | None:
        """Return the plan that a predecessor left open."""

    async def commit(self, offset: int, plan: LandingPlan | None) -> None:
        """Commit ``offset``; raises if the partition belongs to somebody else by now."""


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
        self._ledger, self._writer, self._in_thread = ledger, writer, in_thread
        self._batcher = Batcher(max_rows=max_rows, max_delay_s=max_delay_s)
        self._fed = asyncio.Event()
        self._busy = False
        self._leaving = False
        self._plan: LandingPlan | None = None  # of a predecessor, to be finished first

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the records that wait for their block."""
        return self._batcher.buffered_bytes

    @property
    def owes(self) -> bool:
        """Whether a predecessor's plan is open whose range has not all been fed: do not pause."""
        return self._batcher.owes

    @property
    def idle(self) -> bool:
        """Whether all that was fed is in ClickHouse and committed."""
        return self._batcher.empty and not self._busy

    @property
    def full(self) -> bool:
        """Whether another block is waiting already, so that the partition can pause."""
        return self._batcher.full

    def feed(self, records: Sequence[Record], *, to_come: int = 0) -> None:
        """Take the partition's next records, in order of offset; as many more lie on the log."""
        try:
            self._batcher.feed(records, now_s=time.monotonic(), to_come=to_come)
        except ValueError as fault:
            raise RuntimeError(f"{self.topic}-{self.partition}: {fault}") from fault
        self._fed.set()

    def hurry(self) -> None:
        """Wait for no fuller block: the memory for it is not there."""
        if self._batcher.hurry():
            self._fed.set()

    def leave(self) -> None:
        """Ask the lane to end after the block in hand; what is buffered was never promised."""
        self._leaving = True
        self._fed.set()

    async def run(self) -> None:
        """Write blocks until told to leave; the open plan of a predecessor comes first."""
        self._plan = await self._ledger.open_plan()
        if self._plan is not None:
            self._batcher.promise(self._plan.last)
        while records := await self._take():
            self._busy = True
            await self._land(records, self._plan)
            self._busy, self._plan = False, None

    async def _take(self) -> list[Record]:
        """Return the next block; with a plan, its range and nothing else. Empty: leave."""
        while not self._leaving:
            due_in_s = self._batcher.due_in_s(time.monotonic())
            if due_in_s == 0:
                if records := self._batcher.take(now_s=time.monotonic()):
                    return records
                # The log no longer holds any of the planned range (retention).
                log.error("land.plan_lost", **self._who(), last=self._plan and self._plan.last)
                self._plan = None
                continue
            self._fed.clear()
            wait_s = None if due_in_s is None else max(due_in_s, 0.001)
            try:
                await asyncio.wait_for(self._fed.wait(), wait_s)
            except TimeoutError:
                continue
        return []

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
        landed = await self._patiently(partial(self._writer.landed, span))
        log.warning("land.plan_old", **who, landed=len(landed), of=span.n)
        return bool(landed)

    async def _land_carefully(self, records: list[Record]) -> None:
        """Insert what is not there yet, in halves, so that a bad row is found and set aside.

        Only whole nodes of one fixed tree are inserted (the block by months, each in halves):
        an insert that a killed predecessor left in flight has the token of the same node.
        """
        nodes = deque(by_month(records))
        while nodes:
            node = nodes.popleft()
            if not await self._taken(node):
                middle = len(node) // 2
                nodes.extendleft([node[middle:], node[:middle]])

    async def _taken(self, node: list[Record]) -> bool:
        """Insert what a node lacks; False if it has to be halved. A bad row alone is set aside."""
        span = span_of(self.topic, self.partition, node)
        landed: set[int] = await self._patiently(partial(self._writer.landed, span))
        if all(record.offset in landed for record in node):
            return True
        crash_point("land.amid_halves")
        parts = build_parts(span, node)
        absent = [part for part in parts if not landed.issuperset(part.offsets)]
        if not all(landed.isdisjoint(part.offsets) for part in absent):
            return False
        try:
            await self._insert_all(absent)
        except RowsRefused as refused:
            if len(node) > 1:
                return False
            part = reject_part(span, node[0], refused.problem)
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
