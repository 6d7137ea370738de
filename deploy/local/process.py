"""Detached processes that outlive their starter: pid file, log file, health, stop.

A process inherits the locked pid file, so "the lock is held" means "it lives": a pid that the
system gave to another program since can never be taken for ours, and no start time is compared.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from schemas.errors import PartMissing, SiyuError
from schemas.settings import ROOT

LOG_KEPT_BYTES: Final = 16 * 1024 * 1024
_POLL_S: Final = 0.05
# The shell writes its own pid and then becomes the program: a starter that is killed at any
# line leaves either no process or one that its pid file names.
_BECOME: Final = 'echo $$ >"$1" && shift && exec "$@"'
# Kept so that ended children are reaped while their starter lives.
_children: Final[list[subprocess.Popen[bytes]]] = []


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the system frees it even after kill -9."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Process:
    """One named process of a home folder: ``run/NAME.pid``, ``logs/NAME.log``."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.pid_path = home / "run" / f"{name}.pid"
        self.log_path = home / "logs" / f"{name}.log"

    def pid(self) -> int | None:
        """Return the pid while the process lives, else None."""
        for child in _children:
            child.poll()
        for _ in range(100):
            try:
                with self.pid_path.open() as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except FileNotFoundError:
                return None
            except BlockingIOError:
                text = self.pid_path.read_text().strip()
                if text:
                    return int(text)
                time.sleep(_POLL_S)  # locked by a starter that has not become the program yet
            else:
                return None
        return None

    def spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> int:
        """Start ``argv`` in its own session and return its pid; ``env`` is added to ours."""
        for path in (self.pid_path, self.log_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._rotate_log()
        lock = os.open(self.pid_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._claim(lock)
            os.ftruncate(lock, 0)
            with self.log_path.open("ab") as log:
                child = subprocess.Popen(
                    ["/bin/sh", "-c", _BECOME, "sh", str(self.pid_path), *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
                    cwd=cwd or ROOT,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
        finally:
            os.close(lock)
        _children.append(child)
        return child.pid

    def wait_healthy(self, probe: Callable[[], object], *, timeout_s: float = 60.0) -> None:
        """Return once ``probe`` no longer raises; PartMissing if the process ends or is late."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                probe()
            except Exception as error:
                if self.pid() is None:
                    raise self._failed("ended while starting") from error
                if time.monotonic() > deadline_s:
                    raise self._failed(f"no answer in {timeout_s:g} s ({error})") from error
                time.sleep(_POLL_S)
            else:
                return

    def stop(self, *, grace_s: float = 15.0) -> bool:
        """End it: SIGTERM, then SIGKILL after ``grace_s``; False if it did not run."""
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            pid = self.pid()
            if pid is None:
                return number == signal.SIGKILL
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if self._ended_within(pid, wait_s):
                return True
        raise SiyuError(f"{self.name}: pid {self.pid()} did not end, even by SIGKILL")

    def kill(self) -> bool:
        """End it as a crash would, by SIGKILL; False if it did not run."""
        return self.stop_with(signal.SIGKILL)

    def stop_with(self, number: signal.Signals, *, wait_s: float = 10.0) -> bool:
        """Send one signal and wait for the end; False if it did not run or did not end."""
        pid = self.pid()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return self._ended_within(pid, wait_s)

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as file:
            file.seek(max(0, self.log_path.stat().st_size - 400 * lines))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])

    def _ended_within(self, pid: int, wait_s: float) -> bool:
        deadline_s = time.monotonic() + wait_s
        # This one, by its pid: a supervisor may have started a successor already.
        while self.pid() == pid:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(_POLL_S)
        return True

    def _claim(self, lock: int) -> None:
        # A status probe holds the lock for an instant: try for a second before saying no.
        for _ in range(20):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(_POLL_S)
        raise SiyuError(f"{self.name}: already runs (pid {self.pid()}); stop it first")

    def _rotate_log(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > LOG_KEPT_BYTES:
                self.log_path.replace(self.log_path.with_suffix(".log.1"))

    def _failed(self, problem: str) -> PartMissing:
        tail = self.tail()
        return PartMissing(
            self.name,
            problem + (f"; its log ends:\n{tail}\n" if tail else ""),
            remedy=f"read `siyu logs {self.name}`, then `siyu down` and `siyu up`",
        )


def processes(home: Path) -> list[Process]:
    """Return every process that ever had a pid file in this home, by name."""
    return [Process(path.stem, home) for path in sorted((home / "run").glob("*.pid"))]
