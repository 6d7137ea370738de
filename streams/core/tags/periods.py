"""Weights that decay by half-lives.

A weight is put into the half-life that its event fell in, grown to that half-life's end
of scale, as a whole number: adding is exact, so late and out-of-order events count as if
they had come in time. What is 20 half-lives old (a millionth) is dropped.
"""

from typing import Final

from streams.core.state.cells import Cell
from streams.core.tags.windows import bounded

KEEP: Final = 20
# Amounts by half-life, counted from the cell's base.
Periods = dict[int, int]


def place(periods: Periods, base: int, at_ms: int, amount: float, half_life_ms: int) -> None:
    """Add an amount at a time; with no half-life (0) all time is one period."""
    if half_life_ms:
        period, rest_ms = divmod(at_ms, half_life_ms)
        period -= base
        grown = round(amount * 2 ** (rest_ms / half_life_ms))
    else:
        period, grown = 0, round(amount)
    periods[period] = bounded(periods[period] + grown) if period in periods else bounded(grown)


def weight(periods: Periods, last: int) -> int:
    """Return the weight at the start of a period, in 2**-20; what is later does not count."""
    return sum(
        [amount << KEEP - last + at for at, amount in periods.items() if last - KEEP <= at <= last]
    )


def rescale(cell: Cell, periods: Periods, half_life_ms: int, clock_ms: int) -> Periods:
    """Return the periods of a cell as ones of another half-life: the error is one old period."""
    rescaled: Periods = {}
    was_ms, base = cell[1], clock_ms // half_life_ms if half_life_ms else 0
    for period, amount in periods.items():
        at_ms = (cell[2] + period) * was_ms if was_ms else clock_ms
        place(rescaled, base, at_ms, amount, half_life_ms)
    return rescaled


def prune(periods: Periods, newest: int) -> None:
    """Let go of what no read at or after the newest period can see."""
    if next(iter(periods), newest) < newest - KEEP:
        for old in [period for period in periods if period < newest - KEEP]:
            del periods[old]


def add_all(periods: Periods, more: Periods, shift: int) -> None:
    """Add the periods of another user, whose base is so much later."""
    for period, amount in more.items():
        here = period + shift
        periods[here] = bounded(periods.get(here, 0) + amount)
