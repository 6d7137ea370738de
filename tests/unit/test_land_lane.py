"""A lane of the lander, without a broker and a ClickHouse: promise, insert, commit."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from sinks.clickhouse.lane import LandingLane
from sinks.clickhouse.plan import LandingPlan, plan_of
from sinks.clickhouse.rows import Part, Span, span_of
from tests.land_harness import Logged

MAX_ROWS = 3
DEADLINE_S = 10.0


class Stores:
    """The group's offsets and ClickHouse, which write down what a lane does to them, in order."""

    def __init__(self, open_plan: LandingPlan | None = None) -> None:
        self.steps: list[tuple[str, object]] = []
        self._open = open_plan
        self._committed = asyncio.Condition()

    async def open_plan(self) -> LandingPlan | None:
        return self._open

    async def commit(self, offset: int, plan: LandingPlan | None) -> None:
        async with self._committed:
            self.steps.append(("promise", (offset, plan.last)) if plan else ("commit", offset))
            self._committed.notify_all()

    def insert(self, part: Part) -> None:
        self.steps.append(("insert", list(part.offsets)))

    def landed(self, _span: Span) -> set[int]:
        return set()

    async def committed(self, offset: int) -> None:
        """Return once all before an offset is committed."""
        async with asyncio.timeout(DEADLINE_S), self._committed:
            await self._committed.wait_for(lambda: ("commit", offset) in self.steps)


def log_of(*offsets: int) -> list[Logged]:
    # Undecodable, so that a part's rows are rejects; their offsets are what counts here.
    return [Logged(offset, b"?") for offset in offsets]


def plan_for(records: list[Logged]) -> LandingPlan:
    return plan_of(span_of("events", 0, records), time.time_ns() // 1_000_000)


async def steps_of(stores: Stores, *fetches: list[Logged]) -> list[tuple[str, object]]:
    """Feed a lane fetch by fetch, each when the one before is committed; return what it did."""
    idle_at_work: set[bool] = set()

    async def at_once(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the lane computes
        idle_at_work.add(lane.idle)
        return call()

    lane = LandingLane(
        "events", 0, stores, cast("Any", stores), at_once, max_rows=MAX_ROWS, max_delay_s=0.0
    )
    running = asyncio.create_task(lane.run())
    for records in fetches:
        lane.feed(records)
        await stores.committed(records[-1].offset + 1)
    lane.leave()
    await running
    assert lane.idle
    assert idle_at_work == {False}
    return stores.steps


def test_a_block_is_promised_then_inserted_then_committed() -> None:
    async def story() -> None:
        assert await steps_of(Stores(), log_of(4, 5), log_of(6)) == [
            ("promise", (4, 5)),
            ("insert", [4, 5]),
            ("commit", 6),
            ("promise", (6, 6)),
            ("insert", [6]),
            ("commit", 7),
        ]

    asyncio.run(story())


def test_a_predecessors_range_is_finished_first_under_its_own_promise() -> None:
    async def story() -> None:
        stores = Stores(plan_for(log_of(4, 5)))
        assert await steps_of(stores, log_of(4, 5, 6)) == [
            ("insert", [4, 5]),
            ("commit", 6),
            ("promise", (6, 6)),
            ("insert", [6]),
            ("commit", 7),
        ]

    asyncio.run(story())


def test_a_range_that_the_log_lost_holds_nothing_back() -> None:
    async def story() -> None:
        stores = Stores(plan_for(log_of(1, 2)))
        assert await steps_of(stores, log_of(8, 9)) == [
            ("promise", (8, 9)),
            ("insert", [8, 9]),
            ("commit", 10),
        ]

    asyncio.run(story())
