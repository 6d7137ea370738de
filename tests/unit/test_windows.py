import pytest

from streams.core.windows import MAX_TOTAL, TILES, Tiles, Window, bounded
from tests.engine_story import DAY_MS, HOUR_MS

DAY = Window(DAY_MS)


def test_a_tile_is_a_ninety_sixth_of_the_window() -> None:
    assert DAY.tile_ms * TILES == DAY_MS
    assert Window(50).tile_ms == 1


@pytest.mark.parametrize(
    ("age_ms", "counts"),
    [(0, 1), (DAY_MS - 1, 1), (DAY_MS, 1), (DAY_MS + DAY.tile_ms, 0), (5 * DAY_MS, 0)],
)  # fmt: skip
def test_an_amount_leaves_after_the_window_and_within_one_tile(age_ms: int, counts: int) -> None:
    tiles: Tiles = {}
    at_ms = 100 * DAY_MS
    DAY.add(tiles, at_ms, 1, at_ms)
    assert DAY.total(tiles, at_ms + age_ms) == counts


def test_a_window_is_empty_from_the_time_it_says_and_not_before() -> None:
    tiles: Tiles = {}
    for at_ms in (3 * DAY_MS + 5, 3 * DAY_MS + HOUR_MS + 7):
        DAY.add(tiles, at_ms, 1, at_ms)
    empty_ms = DAY.empty_at_ms(tiles)
    assert DAY.total(tiles, empty_ms - 1) == 1
    assert DAY.total(tiles, empty_ms) == 0


def test_tiles_that_no_read_needs_are_let_go_and_too_late_ones_not_taken() -> None:
    tiles: Tiles = {}
    for day in range(30):
        DAY.add(tiles, day * DAY_MS, 1, day * DAY_MS)
    assert len(tiles) <= 3
    DAY.add(tiles, 0, 1, 30 * DAY_MS)
    assert 0 not in tiles


def test_tiles_of_another_length_keep_their_amounts() -> None:
    tiles: Tiles = {10: 2, 11: 3, 400: 4}
    assert sum(Window(7 * DAY_MS).retile(tiles, DAY.tile_ms).values()) == 9


def test_totals_stay_in_what_can_be_packed() -> None:
    assert bounded(10**30) == MAX_TOTAL
    assert bounded(-(10**30)) == -MAX_TOTAL
    assert bounded(-5) == -5
