"""Tables for a terminal of any width: no cell is ever cut.

Where the columns do not fit side by side, each row is a record of ``name: value`` fields.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

# A word of up to so many cells (an id, a time, a number) is not broken: people copy it.
_WHOLE: Final = 40
# Prose in a narrower column is more lines than anybody reads.
_PROSE: Final = 24
# Between two columns: the border and a blank on both sides.
_GAP: Final = 3
_FIELD_GAP: Final = "  "
_INDENT: Final = 2
_LEAST_ROOM: Final = 10
# Chinese text may be broken between any two characters, all other text between words.
_WORD: Final = re.compile(r"[^\s\u2e80-\uffef]+|[\u2e80-\uffef]")

Rows = Sequence[Sequence[str]]


def print_rows(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = ""
) -> None:
    """Print rows under the names of their columns, or as records where the terminal is narrow."""
    texts = [[_text(cell) for cell in row] for row in rows]
    if title:
        console.print(Text(title, "bold"))
    room = console.width - _GAP * len(columns) - 1
    cells_of = [[name, *cells] for name, *cells in zip(columns, *texts, strict=True)]
    widths = _widths([(_least(cells), _natural(cells)) for cells in cells_of], room)
    if widths is None:
        _print_records(console, columns, texts)
        return
    table = Table()
    for name, width in zip(columns, widths, strict=True):
        table.add_column(Text(name), width=width, overflow="fold")
    for row in texts:
        table.add_row(*map(Text, row))
    console.print(table, soft_wrap=False)


def _text(cell: object) -> str:
    if isinstance(cell, Mapping):
        return ", ".join(f"{key} {value}" for key, value in cell.items())
    return str(cell)


def _natural(cells: Sequence[str]) -> int:
    """Return the width in which no cell is wrapped."""
    return max(cell_len(line) for cell in cells for line in cell.splitlines() or [""])


def _least(cells: Sequence[str]) -> int:
    """Return the width below which a column cannot be read."""
    words = (cell_len(word) for cell in cells for word in _WORD.findall(cell))
    return max(min(_natural(cells), _PROSE), min(max(words, default=0), _WHOLE))


def _widths(bounds: Sequence[tuple[int, int]], room: int) -> list[int] | None:
    """Return a width for each column's (least, natural), of ``room`` in all; ``None``: no room."""
    widths = [least for least, _ in bounds]
    spare = room - sum(widths)
    if spare < 0:
        return None
    # Who wants little gets it; the rest is shared by the others.
    wants = sorted((natural - least, index) for index, (least, natural) in enumerate(bounds))
    for place, (want, index) in enumerate(wants):
        given = min(want, spare // (len(wants) - place))
        widths[index] += given
        spare -= given
    return widths


def _print_records(console: Console, columns: Sequence[str], rows: Rows) -> None:
    room = max(console.width - 2 * _INDENT, _LEAST_ROOM)
    lines = list(_lines(room, columns, rows))
    for row in rows:
        for number, indexes in enumerate(lines):
            line = Text()
            for index in indexes:
                name, value = columns[index], row[index]
                line.append(_label(name), "dim")
                line.append(value, "" if index else "bold")
                if index != indexes[-1]:
                    line.append(" " * (_pair(name, rows, index) - _field(name, value)) + _FIELD_GAP)
            _print_hanging(console, line, _INDENT if number else 0, room)


def _print_hanging(console: Console, line: Text, indent: int, room: int) -> None:
    """Print a line of a record; what it is wrapped into stands further in."""
    for number, part in enumerate(line.wrap(console, room, overflow="fold")):
        part.rstrip()
        blanks = indent + _INDENT if number else indent
        console.print(Text(" " * blanks) + part, soft_wrap=True)


def _lines(room: int, columns: Sequence[str], rows: Rows) -> Iterator[list[int]]:
    """Yield which columns stand together on a line of each record: the same in all of them."""
    line: list[int] = []
    used = 0
    for index, name in enumerate(columns):
        # Text of several lines stands alone.
        alone = any("\n" in row[index] for row in rows)
        pair = room if alone else _pair(name, rows, index)
        if line and used + pair > room:
            yield line
            line, used = [], 0
        line.append(index)
        used += pair + len(_FIELD_GAP)
    if line:
        yield line


def _pair(name: str, rows: Rows, index: int) -> int:
    return max((_field(name, row[index]) for row in rows), default=0)


def _field(name: str, value: str) -> int:
    return cell_len(_label(name)) + cell_len(value)


def _label(name: str) -> str:
    return f"{name}: " if name else ""
