"""The form of every bench's answer: machine, rounds, medians, ratios, checks."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streams.core import COMPILED


def machine() -> dict[str, Any]:
    """Return what ran the bench."""
    return {
        "cpus": os.cpu_count(),
        "cpu": _first_of("/proc/cpuinfo", "model name") or platform.machine(),
        "memory": _first_of("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "core": "compiled" if COMPILED else "as Python",
    }


def summary(runs: Sequence[float], unit: str, **more: object) -> dict[str, Any]:
    """Return one row of ``results``."""
    return {
        "median": median(runs),
        "unit": unit,
        "runs": [_short(run) for run in runs],
        **more,
    }


def median(values: Sequence[float]) -> float:
    """Return the median, in as many digits as mean something."""
    return _short(statistics.median(values))


def ratio(results: Mapping[str, Mapping[str, Any]], a: str, b: str) -> float:
    """Return how many times the median of *a* is that of *b*."""
    times: float = results[a]["median"] / results[b]["median"]
    return round(times, 2)


def _short(value: float) -> float:
    return round(value) if value >= 1000 else round(value, 3)  # noqa: PLR2004 - more digits are noise


def _first_of(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return None
    found = (line for line in lines if line.startswith(name))
    return next((line.partition(":")[2].strip() for line in found), None)
