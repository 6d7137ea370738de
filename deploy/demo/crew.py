"""The demo's processes: started, watched, started again when one dies, stopped.

Each is the command that a user would run. The watch is what an operator's supervisor
does (systemd, Kubernetes): it lets the demo show that a kill -9 loses nothing.
"""

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.local import stack
from deploy.local.process import Process, processes
from schemas.errors import PartMissing, SiyuError

SIYU: Final = (sys.executable, "-m", "streams.commands.cli")
PROVIDER: Final = "webhook"
COMMANDS: Final = {name: (*SIYU, name) for name in ("collect", "worker", "deliver", "land")}
ENGINES: Final = ("kafka", "tansu", "clickhouse")
_WATCH_EVERY_S: Final = 0.2
# A process that cannot live is not a kill to survive.
_RESTARTS_AT_MOST: Final = 8

Say = Callable[[str], None]


class Crew:
    """Broker, ClickHouse, the provider's stand-in and Siyu's four processes, of one home."""

    def __init__(self, home: Path, provider: tuple[str, ...], say: Say) -> None:
        self.home = home
        self.restarts: Counter[str] = Counter()
        self.failure: SiyuError | None = None
        self._commands = {PROVIDER: provider, **COMMANDS}
        self._say, self._over = say, threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        """Start every process at once and watch them from now on."""
        for name, command in self._commands.items():
            Process(name, self.home).spawn(command)
        self._watcher.start()

    def kill(self, name: str) -> bool:
        """End one process by SIGKILL, as a crash would."""
        self._say(f"kill -9 {name}")
        return Process(name, self.home).kill()

    def check(self) -> None:
        """Raise what made the watch give up, if it did."""
        if self.failure is not None:
            raise self.failure

    def release(self) -> None:
        """Stop watching; the processes stay."""
        self._over.set()
        if self._watcher.ident is not None:
            self._watcher.join(timeout=90)

    def stop(self) -> None:
        """Stop watching, then every process in the order that loses no time."""
        self.release()
        stack.down()

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_EVERY_S):
            try:
                self._revive()
            except SiyuError as failure:
                self.failure = failure
                return

    def _revive(self) -> None:
        known = {process.name: process for process in processes(self.home)}
        for name, process in known.items():
            if process.pid() is not None or self._over.is_set():
                continue
            if name in ENGINES or name in self._commands:
                self._count(process)
            if name in ENGINES:
                stack.up()
            elif name in self._commands:
                process.spawn(self._commands[name])

    def _count(self, process: Process) -> None:
        self.restarts[process.name] += 1
        self._say(f"{process.name} died: starting it again")
        if self.restarts[process.name] > _RESTARTS_AT_MOST:
            raise PartMissing(
                process.name,
                f"died {_RESTARTS_AT_MOST} times; its log ends:\n{process.tail(3)}\n",
                remedy="mend what its log tells",
            )


def wipe(home: Path) -> None:
    """End what an earlier demo left in this home and drop its data; ``home`` must be SIYU_HOME."""
    for process in processes(home):
        # The data goes anyway: no need to wait for a clean end.
        process.kill()
    stack.down(wipe=True)
    for name in ("secrets.json", "ports.json"):
        with contextlib.suppress(FileNotFoundError):
            (home / name).unlink()
