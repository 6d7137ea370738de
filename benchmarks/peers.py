"""The venv of the peers: made on demand beside the engines' cache, never Siyu's own."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.local.process import file_lock
from schemas.errors import PartMissing
from schemas.settings import StackSettings

PINNED: Final = Path(__file__).with_name("peers.txt")
Report = Callable[[str], None]


def ensure(report: Report) -> Path:
    """Return the Python of the peers' venv; makes it when it is missing or not up to date."""
    cache = StackSettings().cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    venv = cache / "bench-venv"
    with file_lock(cache / "bench-venv.lock"):
        if not _ready(venv):
            report(f"installing the peers ({PINNED.name}) into {venv.name}, once, about a minute")
            _make(venv)
    return venv / "bin/python"


def _ready(venv: Path) -> bool:
    mark = venv / PINNED.name
    return mark.is_file() and mark.read_bytes() == PINNED.read_bytes()


def _make(venv: Path) -> None:
    _run([sys.executable, "-m", "venv", "--clear", str(venv)])
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _run([*pip, "-r", str(PINNED)])
    shutil.copyfile(PINNED, venv / PINNED.name)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode:
        raise PartMissing(
            "bench-venv",
            f"`{' '.join(command[1:4])}` ended with {done.returncode}",
            remedy="check the network and pip's settings, or leave them out: --vs faust,aiokafka",
        )
