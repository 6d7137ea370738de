# ruff: noqa: SLF001 - what a lane holds between two calls of the outside is its own
import time
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from sinks.clickhouse.lane import LandingLane
from sinks.clickhouse.plan import LandingPlan
from tests.land_harness import Logged

MAX_ROWS = 10
DELAY_S = 30.0


def _lane() -> LandingLane:
    # What the laws below are about is before the first call of either.
    nothing = cast("Any", None)
    return LandingLane(
        "events", 0, nothing, nothing, nothing, max_rows=MAX_ROWS, max_delay_s=DELAY_S
    )


@st.composite
def fetches(draw: st.DrawFn) -> list[list[Logged]]:
    """Records as they are fetched: offsets rise, with gaps; no fetch is more than a block."""
    offset, found = 0, []
    for size in draw(st.lists(st.integers(1, MAX_ROWS), min_size=1, max_size=8)):
        gaps = draw(st.lists(st.integers(1, 3), min_size=size, max_size=size))
        some = []
        for gap in gaps:
            offset += gap
            some.append(Logged(offset, b"x" * (offset % 4)))
        found.append(some)
    return found


@given(fetches())
def test_blocks_are_all_that_was_fed_in_order_and_none_is_too_large(
    fed: list[list[Logged]],
) -> None:
    lane = _lane()
    for records in fed:
        lane.feed(records)
    blocks = []
    while not lane.idle:
        blocks.append(lane._cut(None))
    assert [one for block in blocks for one in block] == [one for some in fed for one in some]
    assert max(map(len, blocks)) <= MAX_ROWS
    assert lane.buffered_bytes == 0


@given(fetches(), st.integers(0, 250))
def test_a_planned_range_is_cut_to_its_last_offset_and_the_rest_stays(
    fed: list[list[Logged]], last: int
) -> None:
    lane = _lane()
    for records in fed:
        lane.feed(records)
    planned = lane._cut(LandingPlan(last=last, n=1, sha256="", at_ms=0))
    everything = [one for some in fed for one in some]
    assert planned == [one for one in everything if one.offset <= last]
    rest = [one for one in everything if one.offset > last]
    assert lane.buffered_bytes == sum(len(one.value or b"") for one in rest)
    left = []
    while not lane.idle:
        left += lane._cut(None)
    assert left == rest


@given(st.integers(MAX_ROWS, 3 * MAX_ROWS))
def test_a_lane_takes_a_predecessors_block_that_is_larger_than_its_own(last: int) -> None:
    """As after a restart with a smaller ``land_max_rows``: paused, it would wait for ever."""
    lane = _lane()
    plan = lane._plan = LandingPlan(last=last, n=1, sha256="", at_ms=0)
    for offset in range(last + 1):
        assert lane.owes
        assert not lane.full
        lane.feed([Logged(offset, b"x")])
    assert not lane.owes
    assert lane.full
    assert len(lane._cut(plan)) == last + 1


@given(st.integers(1, MAX_ROWS - 1), st.integers(0, 2 * MAX_ROWS))
def test_a_block_waits_longer_only_while_the_log_can_fill_it(fed: int, to_come: int) -> None:
    lane = _lane()
    lane.feed([Logged(n, b"") for n in range(fed)], to_come=to_come)
    assert not lane._ready(None)
    lane._oldest_s = time.monotonic() - DELAY_S - 1
    assert lane._ready(None) == (fed + to_come < MAX_ROWS)
    lane.hurry()
    assert lane._ready(None)
    lane.feed([Logged(fed + n, b"") for n in range(MAX_ROWS - fed)], to_come=to_come)
    assert lane._ready(None)
