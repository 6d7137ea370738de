"""What every part of the stack answers with, and how one is brought up."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local import ports
from deploy.local.process import Process
from schemas.errors import PartMissing

_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Engine:
    """Which program serves, and its version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Served:
    """A part that answers: its address for clients, and what it is."""

    address: str
    engine: Engine


def bring_up(
    process: Process,
    home: Path,
    port_names: Sequence[str],
    start: Callable[[dict[str, int]], None],
    probe: Callable[[dict[str, int]], object],
) -> dict[str, int]:
    """Start the process unless it lives, wait until ``probe`` holds; return its ports."""
    if process.pid() is not None:
        chosen = {name: ports.kept(home)[name] for name in port_names}
        process.wait_healthy(lambda: probe(chosen))
        return chosen
    for attempt in range(1, _ATTEMPTS + 1):
        chosen = ports.keep(home, *port_names)
        start(chosen)
        try:
            process.wait_healthy(lambda: probe(chosen))  # noqa: B023 - called in this round only
        except PartMissing:
            # Another program may have taken a port after we looked; then choose again.
            lost_port = process.pid() is None and not all(map(ports.is_free, chosen.values()))
            if attempt == _ATTEMPTS or not lost_port:
                raise
        else:
            break
    return chosen


def connects(*addresses: str) -> None:
    """Raise OSError unless something accepts connections at one of these ``host:port``.

    Kafka's client tries on for half a minute where nobody listens, so this is asked first.
    """
    failed: OSError = ConnectionError("no address given")
    for address in addresses:
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=3).close()
        except OSError as error:
            failed = error
        else:
            return
    raise failed
