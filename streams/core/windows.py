"""Sliding windows by tiles: amounts added up in fixed slices of time.

A window is at least as long as asked and at most one tile (a 96th of it) longer at
either end: an amount in (at - window, at] always counts, one more than a tile outside
never does. Tiles are sums (or are joined by another function for which the order does not
matter), so neither the order of arrival nor a merge changes them.
Tiles are kept for one more window (a day at most), so that a read at an earlier time
(the due of a late timer) is as right as one at the user's clock.
"""

from collections.abc import Callable
from typing import Any, Final

from streams.core.state import DAY_MS

TILES: Final = 96
# So that a sum of all tiles still fits the 64 bits of msgpack.
MAX_TOTAL: Final = 2**55
Tiles = dict[int, Any]


def bounded(total: int) -> int:
    """Return a total that can be packed: what no real shop reaches is cut."""
    return total if -MAX_TOTAL < total < MAX_TOTAL else max(-MAX_TOTAL, min(MAX_TOTAL, total))


def added(one: int, two: int) -> int:
    """Return the sum of two amounts, cut to what can be packed."""
    return bounded(one + two)


class Window:
    """One length of window, over tiles that somebody else holds; ``join`` makes one of two."""

    def __init__(self, window_ms: int, join: Callable[[Any, Any], Any] = added) -> None:
        self.window_ms, self._join = window_ms, join
        self.tile_ms = max(1, -(-window_ms // TILES))
        self._keep_ms = window_ms + min(window_ms, DAY_MS)

    def add(self, tiles: Tiles, at_ms: int, amount: Any, clock_ms: int) -> None:  # noqa: ANN401 - what join takes
        """Add an amount at a time; tiles that no read can need any more are let go."""
        tile = at_ms // self.tile_ms
        if tile in tiles:
            tiles[tile] = self._join(tiles[tile], amount)
            return
        oldest = (clock_ms - self._keep_ms) // self.tile_ms
        if tile < oldest:
            return
        for stale in [one for one in tiles if one < oldest]:
            del tiles[stale]
        tiles[tile] = amount

    def total(self, tiles: Tiles, at_ms: int) -> int:
        """Return what fell into the window that ends at a time."""
        return sum(self.held(tiles, at_ms))

    def held(self, tiles: Tiles, at_ms: int) -> list[Any]:
        """Return the amounts of the tiles of the window that ends at a time."""
        first, last = (at_ms - self.window_ms) // self.tile_ms, at_ms // self.tile_ms
        return [amount for tile, amount in tiles.items() if first <= tile <= last]

    def merged(self, one: Tiles, two: Tiles, clock_ms: int) -> Tiles:
        """Return the tiles of two users as one's."""
        made = dict(one)
        for tile, amount in two.items():
            self.add(made, tile * self.tile_ms, amount, clock_ms)
        return made

    def empty_at_ms(self, tiles: Tiles) -> int:
        """Return from when on the window holds nothing; 0 if it has no tiles."""
        return (max(tiles) + 1) * self.tile_ms + self.window_ms if tiles else 0

    def retile(self, tiles: Tiles, tile_ms: int) -> Tiles:
        """Return tiles of another length as ones of this; the error is one old tile."""
        made: Tiles = {}
        for tile, amount in tiles.items():
            here = tile * tile_ms // self.tile_ms
            made[here] = self._join(made[here], amount) if here in made else amount
        return made
