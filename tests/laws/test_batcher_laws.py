"""Blocks of the lander: nothing is lost, doubled, reordered or held back for ever."""

from collections.abc import Sequence
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.clickhouse.batcher import MAX_BLOCK_BYTES, Batcher
from sinks.clickhouse.rows import Record
from tests.land_harness import Logged

MAX_ROWS = 10
DELAY_S = 30.0
START_S = 1000.0


def new_batcher() -> Batcher:
    return Batcher(max_rows=MAX_ROWS, max_delay_s=DELAY_S)


def run_of(first: int, count: int) -> list[Logged]:
    return [Logged(offset, b"x") for offset in range(first, first + count)]


def blocks_of(batcher: Batcher) -> list[Sequence[Record]]:
    blocks: list[Sequence[Record]] = []
    while block := batcher.take(now_s=START_S):
        blocks.append(block)
    return blocks


@st.composite
def fetches(draw: st.DrawFn) -> list[list[Logged]]:
    """Records as they are fetched: offsets rise, with gaps; no fetch is more than a block."""
    offset, fetches = 0, []
    for size in draw(st.lists(st.integers(1, MAX_ROWS), min_size=1, max_size=8)):
        fetch = []
        for gap in draw(st.lists(st.integers(1, 3), min_size=size, max_size=size)):
            offset += gap
            fetch.append(Logged(offset, b"x" * (offset % 4)))
        fetches.append(fetch)
    return fetches


def size_of(records: Sequence[Record]) -> int:
    return sum(len(record.value or b"") for record in records)


@given(fetches())
def test_blocks_are_all_that_was_fed_in_order_and_no_two_would_fit_into_one(
    fed: list[list[Logged]],
) -> None:
    batcher = new_batcher()
    for fetch in fed:
        batcher.feed(fetch, now_s=START_S)
    assert batcher.buffered_bytes == size_of(list(chain(*fed)))
    blocks = blocks_of(batcher)
    assert list(chain(*blocks)) == list(chain(*fed))
    assert batcher.empty
    assert max(map(len, blocks)) <= MAX_ROWS
    # A fetch stays whole: a block ends where the next one would not fit.
    starts = {fetch[0].offset: len(fetch) for fetch in fed}
    for block, following in pairwise(blocks):
        assert len(block) + starts[following[0].offset] > MAX_ROWS
    assert batcher.buffered_bytes == 0


def test_a_fetch_that_is_larger_than_a_block_is_a_block_of_its_own() -> None:
    """As of a topic whose records are several rows each: a fetch is bounded in records."""
    batcher = new_batcher()
    fed = [run_of(0, 1), run_of(1, 2 * MAX_ROWS), run_of(1 + 2 * MAX_ROWS, 1)]
    for fetch in fed:
        batcher.feed(fetch, now_s=START_S)
    assert blocks_of(batcher) == fed


def test_a_block_of_large_values_ends_by_its_bytes() -> None:
    batcher = new_batcher()
    half = bytes(MAX_BLOCK_BYTES // 2)
    for offset in range(3):
        batcher.feed([Logged(offset, half)], now_s=START_S)
        assert batcher.full == (offset > 0)
    assert [len(block) for block in blocks_of(batcher)] == [2, 1]


@given(fetches(), st.integers(0, 250))
def test_a_promised_range_is_cut_to_its_last_offset_and_the_rest_stays(
    fed: list[list[Logged]], last: int
) -> None:
    batcher = new_batcher()
    batcher.promise(last)
    for fetch in fed:
        assert batcher.due_in_s(START_S + 10 * DELAY_S) is None or fetch[0].offset > last
        batcher.feed(fetch, now_s=START_S)
    everything = list(chain(*fed))
    assert (batcher.due_in_s(START_S) == 0) == (everything[-1].offset >= last)
    assert batcher.take(now_s=START_S) == [r for r in everything if r.offset <= last]
    rest = [record for record in everything if record.offset > last]
    assert batcher.buffered_bytes == size_of(rest)
    assert list(chain(*blocks_of(batcher))) == rest


@given(st.integers(MAX_ROWS, 3 * MAX_ROWS))
def test_a_promised_range_that_is_larger_than_a_block_is_fed_to_its_end(last: int) -> None:
    """As after a restart with a smaller ``land_max_rows``: paused, it would wait for ever."""
    batcher = new_batcher()
    batcher.promise(last)
    for record in run_of(0, last + 1):
        assert batcher.owes
        assert not batcher.full
        batcher.feed([record], now_s=START_S)
    assert not batcher.owes
    assert batcher.full
    assert len(batcher.take(now_s=START_S)) == last + 1
    assert not batcher.full


def test_a_promised_range_that_the_log_lost_is_empty_and_holds_nothing_back() -> None:
    batcher = new_batcher()
    batcher.promise(4)
    batcher.feed(run_of(5, MAX_ROWS), now_s=START_S)
    assert batcher.due_in_s(START_S) == 0
    assert batcher.take(now_s=START_S) == []
    assert batcher.due_in_s(START_S) == 0
    assert batcher.take(now_s=START_S) == run_of(5, MAX_ROWS)


@given(st.integers(1, MAX_ROWS - 1), st.integers(0, 2 * MAX_ROWS))
def test_a_block_waits_longer_only_while_the_log_can_fill_it(fed: int, to_come: int) -> None:
    batcher = new_batcher()
    batcher.feed(run_of(0, fed), now_s=START_S, to_come=to_come)
    fillable = fed + to_come >= MAX_ROWS
    assert batcher.due_in_s(START_S) == (4 * DELAY_S if fillable else DELAY_S)
    assert batcher.due_in_s(START_S + DELAY_S) == (3 * DELAY_S if fillable else 0)
    assert batcher.due_in_s(START_S + 4 * DELAY_S) == 0
    assert batcher.hurry() == fillable
    assert batcher.due_in_s(START_S + DELAY_S) == 0
    batcher.feed(run_of(fed, MAX_ROWS - fed), now_s=START_S, to_come=to_come)
    assert batcher.full
    assert batcher.due_in_s(START_S) == 0


def test_a_block_waits_from_its_oldest_record_on() -> None:
    batcher = new_batcher()
    assert batcher.due_in_s(START_S) is None
    batcher.feed(run_of(0, 1), now_s=START_S)
    batcher.feed(run_of(1, 1), now_s=START_S + DELAY_S / 2)
    assert batcher.due_in_s(START_S + DELAY_S / 2) == DELAY_S / 2


@given(fetches(), st.data())
def test_an_offset_that_comes_a_second_time_is_refused(
    fed: list[list[Logged]], data: st.DataObject
) -> None:
    batcher = new_batcher()
    for fetch in fed:
        batcher.feed(fetch, now_s=START_S)
    again = data.draw(st.sampled_from(list(chain(*fed))))
    with pytest.raises(ValueError, match=f"offset {again.offset} came a second time"):
        batcher.feed([again], now_s=START_S)
    assert list(chain(*blocks_of(batcher))) == list(chain(*fed))
