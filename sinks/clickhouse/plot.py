"""The answer to a question as a picture: what its file's ``-- :plot`` line asks for.

``line day dau,wau`` and ``bar channel revenue`` put columns over the first one, ``by source`` makes
a series of each value, and ``heat cohort n share`` colours a grid. Needs matplotlib.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from schemas.errors import ConfigInvalid, PartMissing

Kind = Literal["line", "bar", "heat"]
KINDS: Final = ("line", "bar", "heat")
_SIZE_INCHES: Final = (11, 5.5)
# Fonts with Chinese characters, where the machine has one; else boxes.
_FONTS: Final = ["Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "SimHei", "DejaVu Sans"]
_LABELS: Final = 30
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn: ``y`` over ``x``; a series for each value of ``by``, or cells of a grid."""

    kind: Kind
    x: str
    y: tuple[str, ...]
    by: str = ""


def read_plot(text: str) -> Plot:
    """Return the plot that a ``-- :plot`` line asks for; raises ``ValueError`` if it is none."""
    words = text.split()
    if not words or words[0] not in KINDS:
        raise ValueError(f"{text!r}: begin with {', '.join(KINDS)}")
    kind, rest = cast("Kind", words[0]), words[1:]
    match kind, rest:
        case "heat", [down, across, value]:
            return Plot(kind, across, (value,), down)
        case "line" | "bar", [x, ys]:
            return Plot(kind, x, tuple(ys.split(",")))
        case "line" | "bar", [x, y, "by", series]:
            return Plot(kind, x, (y,), series)
    raise ValueError(f"{text!r}: expected X Y[,Y...], X Y by SERIES, or heat DOWN ACROSS VALUE")


def draw(file: Path, title: str, plot: Plot, answer: Mapping[str, Any]) -> None:
    """Write the picture of an answer of ``run_query``.

    Raises ``PartMissing`` without matplotlib and ``ConfigInvalid`` for a file that cannot be
    written or whose ending names no kind of picture.
    """
    try:
        from matplotlib import rcParams
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager
    except ImportError as absent:
        raise PartMissing(
            "matplotlib", str(absent), remedy="pip install 'siyu[plot]', or pip install matplotlib"
        ) from absent
    rows = [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
    here = {font.name for font in fontManager.ttflist}
    rcParams["font.sans-serif"] = [name for name in _FONTS if name in here]
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    if plot.kind == "heat":
        _heat(figure, axes, plot, rows)
    else:
        _series(axes, plot, rows)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figure.savefig(file)
    except (OSError, ValueError) as wrong:
        raise ConfigInvalid("--plot", str(wrong), hint="a path that ends with .png") from wrong


def _series(axes: Any, plot: Plot, rows: Rows) -> None:  # noqa: ANN401 - matplotlib's axes
    places = _distinct(rows, plot.x)
    lines: dict[str, dict[str, float]] = {}
    for row in rows:
        for y in plot.y:
            name = str(row[plot.by]) if plot.by else y
            if row[y] is not None:
                lines.setdefault(name, {})[str(row[plot.x])] = row[y]
    for number, (name, points) in enumerate(lines.items()):
        if plot.kind == "line":
            axes.plot(
                [places.index(x) for x in points], list(points.values()), marker=".", label=name
            )
        else:
            width = 0.8 / len(lines)
            offset = (number - (len(lines) - 1) / 2) * width
            axes.bar(
                [places.index(x) + offset for x in points],
                list(points.values()),
                width=width,
                label=name,
            )
    _label(axes.xaxis, places, rotation=30)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(", ".join(plot.y))
    if len(lines) > 1:
        axes.legend()


def _heat(figure: Any, axes: Any, plot: Plot, rows: Rows) -> None:  # noqa: ANN401 - as above
    across, down = _distinct(rows, plot.x), _distinct(rows, plot.by)
    cells = [[float("nan")] * len(across) for _ in down]
    for row in rows:
        cells[down.index(str(row[plot.by]))][across.index(str(row[plot.x]))] = float(
            row[plot.y[0]] or 0
        )
    if rows:
        image = axes.imshow(cells, aspect="auto", cmap="Blues")
        figure.colorbar(image, label=plot.y[0])
    _label(axes.xaxis, across, rotation=0 if len(across) > len(max(across, default="")) else 30)
    _label(axes.yaxis, down, rotation=0)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.by)


def _distinct(rows: Rows, column: str) -> list[str]:
    return list(dict.fromkeys(str(row[column]) for row in rows))


def _label(axis: Any, names: list[str], *, rotation: int) -> None:  # noqa: ANN401 - as above
    every = -(-len(names) // _LABELS) or 1
    axis.set_ticks(range(0, len(names), every), names[::every], rotation=rotation)
