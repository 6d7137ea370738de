"""Named crash points: where the fault tests end a process as ``kill -9`` would."""

import os
import signal
from collections import Counter

_reached: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Kill this process if ``SIYU_CRASH_AT`` says so: ``name``, or ``name:N`` for the Nth time."""
    # Not in the settings: it must be readable before them, and no user may set it by file.
    wanted = os.environ.get("SIYU_CRASH_AT")
    if not wanted:
        return
    point, _, times = wanted.partition(":")
    if point != name:
        return
    _reached[name] += 1
    if _reached[name] == int(times or 1):
        os.kill(os.getpid(), signal.SIGKILL)
