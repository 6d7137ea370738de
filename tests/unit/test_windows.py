import pytest

from streams.core.state.cells import Cell
from streams.core.tags.windows import MAX_TOTAL, TILES, Window, bounded
from tests.engine_story import DAY_MS, HOUR_MS

DAY = Window(DAY_MS)


def fresh(window: Window = DAY) -> Cell:
    return window.new(0, None)


def test_a_tile_is_a_ninety_sixth_of_the_window() -> None:
    assert DAY.tile_ms * TILES == DAY_MS
    assert Window(50).tile_ms == 1


@pytest.mark.parametrize(
    ("age_ms", "counts"),
    [(0, 1), (DAY_MS - 1, 1), (DAY_MS, 1), (DAY_MS + DAY.tile_ms, 0), (5 * DAY_MS, 0)],
)
def test_an_amount_leaves_after_the_window_and_within_one_tile(age_ms: int, counts: int) -> None:
    tiles = fresh()
    at_ms = 100 * DAY_MS
    DAY.add(tiles, at_ms, 1, at_ms)
    assert DAY.total(tiles, at_ms + age_ms) == counts


def test_a_window_is_empty_from_the_time_it_says_and_not_before() -> None:
    tiles = fresh()
    for at_ms in (3 * DAY_MS + 5, 3 * DAY_MS + HOUR_MS + 7):
        DAY.add(tiles, at_ms, 1, at_ms)
    empty_ms = DAY.empty_at_ms(tiles)
    assert DAY.total(tiles, empty_ms - 1) == 1
    assert DAY.total(tiles, empty_ms) == 0


def test_tiles_that_no_read_needs_are_let_go_and_too_late_ones_not_taken() -> None:
    tiles = fresh()
    for day in range(30):
        DAY.add(tiles, day * DAY_MS, 1, day * DAY_MS)
    assert DAY.total(tiles, 29 * DAY_MS) == 2
    assert len(tiles[4]) <= 3
    DAY.add(tiles, 0, 1, 30 * DAY_MS)
    assert DAY.total(tiles, 0) == 0


def test_tiles_of_another_length_keep_their_amounts() -> None:
    tiles, week = fresh(), Window(7 * DAY_MS)
    for tile, amount in ((300, 2), (301, 3), (400, 4)):
        DAY.add(tiles, tile * DAY.tile_ms, amount, 400 * DAY.tile_ms)
    assert week.total(tiles, 400 * DAY.tile_ms) == 9


def test_an_amount_in_the_tile_of_the_clock_says_that_nothing_else_moved() -> None:
    tiles, at_ms = fresh(), 100 * DAY_MS
    assert not DAY.add(tiles, at_ms, 1, at_ms)
    assert DAY.add(tiles, at_ms + 1, 1, at_ms + 1)
    later_ms = at_ms + DAY.tile_ms
    assert not DAY.add(tiles, at_ms, 1, later_ms)
    assert not DAY.add(tiles, later_ms, 1, later_ms)
    # A window that is no whole number of tiles moves within a tile, too.
    odd, tiles = Window(1000), fresh(Window(1000))
    odd.add(tiles, 5000, 1, 5000)
    assert not odd.add(tiles, 5000, 1, 5001)


def test_tiles_stay_small_numbers_over_years() -> None:
    tiles = fresh()
    for day in range(1000):
        DAY.add(tiles, day * DAY_MS, 1, day * DAY_MS)
    assert max(tiles[4]) < 512


def test_totals_stay_in_what_can_be_packed() -> None:
    assert bounded(10**30) == MAX_TOTAL
    assert bounded(-(10**30)) == -MAX_TOTAL
    assert bounded(-5) == -5
