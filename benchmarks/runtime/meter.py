"""What an engine's process tells of itself: JSON lines on stdout, measured alike in all.

The steady window opens when the first batch (or event) has been processed and closes
when the last has: start-up, joining the group and creating topics are outside of it.
"""

import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TELL_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """What an engine is told, as one JSON argument."""

    kafka: str
    source: str
    touches: str
    state: str
    group: str
    folder: str
    events: int
    validate: str = "pydantic"

    @classmethod
    def from_argv(cls) -> "Run":
        """Return the run in the first argument of the process."""
        return cls(**json.loads(sys.argv[1]))


def peak_rss_bytes() -> int:
    """Return the peak memory of this process."""
    try:
        # ru_maxrss survives exec on Linux: it may be the parent's.
        status = Path("/proc/self/status").read_text("utf-8")
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


class Meter:
    """Counts processed events; prints one ``done`` line at the last of them."""

    def __init__(self, events: int) -> None:
        self._events, self._done, self._first = events, 0, 0
        self._began_s = self._before_s = self._told_s = self._cpu_s = self._pause_s = 0.0

    @property
    def finished(self) -> bool:
        """Tell whether all events have been processed."""
        return self._done >= self._events

    def add(self, count: int = 1) -> None:
        """Note that *count* more events have been processed, just now."""
        now_s = time.monotonic()
        self._done += count
        if not self._first:
            self._first, self._began_s, self._told_s = count, now_s, now_s
            self._cpu_s = _cpu_s()
        elif now_s - self._before_s > self._pause_s:
            self._pause_s = now_s - self._before_s
        self._before_s = now_s
        if self._done >= self._events:
            self._tell_done(now_s)
        elif now_s - self._told_s > _TELL_EVERY_S:
            self._told_s = now_s
            _tell({"at": self._done})

    def _tell_done(self, now_s: float) -> None:
        window_s = now_s - self._began_s
        _tell(
            {
                "done": self._done,
                "events": self._done - self._first,
                "window_s": window_s,
                "cpu_s": _cpu_s() - self._cpu_s,
                "peak_rss_bytes": peak_rss_bytes(),
                "largest_pause_ms": self._pause_s * 1000,
            }
        )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _tell(line: dict[str, float]) -> None:
    print(json.dumps(line), flush=True)
