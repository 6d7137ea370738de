"""Ports of the stack: free when chosen, and kept in ``ports.json`` for the next start."""

import json
import random
import socket
import time
from pathlib import Path
from typing import Final

from deploy.local.process import file_lock

# Below the ephemeral ranges of Linux (32768+) and macOS (49152+): an outgoing connection of
# some program cannot take a port between our choice and our listen.
_RANGE: Final = (20_000, 30_000)
_LET_GO_S: Final = 5.0


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT after a restart is free to listen on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def keep(home: Path, *names: str) -> dict[str, int]:
    """Return a port for each name: the kept one if it is free, else a new one, then kept."""
    with file_lock(home / "ports.lock"):
        known = kept(home)
        for name in names:
            if name not in known or not _comes_free(known[name]):
                known[name] = _choose(taken=set(known.values()))
        part = home / "ports.json.tmp"
        part.write_text(json.dumps(known))
        part.replace(home / "ports.json")
    return {name: known[name] for name in names}


def _comes_free(port: int) -> bool:
    # A predecessor that was killed may need a moment to let go of its port.
    deadline_s = time.monotonic() + _LET_GO_S
    while not is_free(port):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.1)
    return True


def kept(home: Path) -> dict[str, int]:
    """Return the ports as they were last kept."""
    path = home / "ports.json"
    known: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return known


def _choose(taken: set[int]) -> int:
    # Random, so that two stacks that start at once seldom choose the same.
    while True:
        port = random.randrange(*_RANGE)  # noqa: S311 - nothing secret about a port
        if port not in taken and is_free(port):
            return port
