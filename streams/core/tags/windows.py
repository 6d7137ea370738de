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

from streams.core.event_time import DAY_MS
from streams.core.state.cells import Cell

TILES: Final = 96
# So that a sum of all tiles still fits the 64 bits of msgpack.
MAX_TOTAL: Final = 2**55
# Over this far from its base a tile's number takes three bytes.
_FAR: Final = 255


def bounded(total: int) -> int:
    """Return a total that can be packed: what no real shop reaches is cut."""
    return total if -MAX_TOTAL < total < MAX_TOTAL else max(-MAX_TOTAL, min(MAX_TOTAL, total))


def added(amount: int, more: int) -> int:
    """Return the sum of two amounts, cut to what can be packed."""
    total = amount + more
    return total if -MAX_TOTAL < total < MAX_TOTAL else bounded(total)


class Window:
    """One length of window, over a cell: ``[code, tile_ms, shown, base, {tile - base: amount}]``.

    ``join`` makes one amount of two; ``shown`` is the caller's.
    """

    def __init__(self, window_ms: int, join: Callable[[Any, Any], Any] = added) -> None:
        self.window_ms, self._join = window_ms, join
        self.tile_ms = max(1, -(-window_ms // TILES))
        self._keep_ms = window_ms + min(window_ms, DAY_MS)
        self._whole = window_ms % self.tile_ms == 0

    def new(self, code: int, empty: Any) -> Cell:  # noqa: ANN401 - what the caller shows of nothing
        """Return the cell of a window that has seen nothing."""
        return [code, self.tile_ms, empty, 0, {}]

    def add(self, cell: Cell, at_ms: int, amount: Any, clock_ms: int) -> bool:  # noqa: ANN401 - what join takes
        """Add an amount at a time; drop tiles that no read can need any more.

        Return whether nothing else moved since the last addition: then the total at the clock
        is the former one, joined with the amount.
        """
        tile_ms = self.tile_ms
        tiles = cell[4] if cell[1] == tile_ms else self._tiles(cell)
        here = at_ms // tile_ms
        tile = here - cell[3]
        if tile in tiles:
            tiles[tile] = self._join(tiles[tile], amount)
            # No tile is later than the clock's: it was at this one then already.
            return self._whole and here == clock_ms // tile_ms
        oldest = (clock_ms - self._keep_ms) // tile_ms
        if here >= oldest:
            if tiles and next(iter(tiles)) < oldest - cell[3]:
                self._prune(cell, oldest - cell[3])
            if not cell[4]:
                cell[3] = here
            cell[4][here - cell[3]] = amount
        return False

    def total(self, cell: Cell, at_ms: int) -> int:
        """Return what fell into the window that ends at a time."""
        return sum(self.within(cell, at_ms))

    def within(self, cell: Cell, at_ms: int) -> list[Any]:
        """Return the amounts of the tiles of the window that ends at a time."""
        tiles, tile_ms, base = self._tiles(cell), self.tile_ms, cell[3]
        first, last = (at_ms - self.window_ms) // tile_ms - base, at_ms // tile_ms - base
        return [amount for tile, amount in tiles.items() if first <= tile <= last]

    def merge(self, cell: Cell, other: Cell, clock_ms: int) -> Cell:
        """Add the tiles of another user."""
        for tile, amount in self._tiles(other).items():
            self.add(cell, (other[3] + tile) * self.tile_ms, amount, clock_ms)
        return cell

    def empty_at_ms(self, cell: Cell) -> int:
        """Return from when on the window holds nothing; 0 if it has no tiles."""
        tiles = self._tiles(cell)
        return (cell[3] + max(tiles) + 1) * self.tile_ms + self.window_ms if tiles else 0

    def bound_ms(self, cell: Cell, at_ms: int, clock_ms: int) -> int:
        """Return a time before which a window with an amount at ``at_ms`` is not empty."""
        bound_ms = (at_ms // self.tile_ms + 1) * self.tile_ms + self.window_ms
        return bound_ms if bound_ms > clock_ms else self.empty_at_ms(cell)

    def _tiles(self, cell: Cell) -> dict[int, Any]:
        """Return the tiles; those of another length become ones of this: the error is one old."""
        tiles: dict[int, Any] = cell[4]
        if cell[1] == self.tile_ms:
            return tiles
        was_ms, was_base = cell[1], cell[3]
        cell[1], cell[3] = self.tile_ms, was_base * was_ms // self.tile_ms
        rescaled: dict[int, Any] = {}
        for tile, amount in tiles.items():
            here = (was_base + tile) * was_ms // self.tile_ms - cell[3]
            rescaled[here] = self._join(rescaled[here], amount) if here in rescaled else amount
        cell[4] = rescaled
        return rescaled

    def _prune(self, cell: Cell, oldest: int) -> None:
        kept = {tile: amount for tile, amount in cell[4].items() if tile >= oldest}
        if kept and max(kept) > _FAR:
            shift = min(kept)
            kept = {tile - shift: amount for tile, amount in kept.items()}
            cell[3] += shift
        cell[4] = kept
