"""Named crash points: where the fault tests end or freeze a process, as the outside could."""

import os
import signal
from collections import Counter
from typing import Final


def _armed() -> dict[str, list[tuple[int, signal.Signals]]]:
    # Not in the settings: they must be readable before them, and no user may set them by file.
    points: dict[str, list[tuple[int, signal.Signals]]] = {}
    for variable, sent in (("SIYU_CRASH_AT", signal.SIGKILL), ("SIYU_STOP_AT", signal.SIGSTOP)):
        point, _, times = os.environ.get(variable, "").partition(":")
        if point:
            points.setdefault(point, []).append((int(times or 1), sent))
    return points


# Read once: points stand on hot paths.
_ARMED: Final = _armed()
_reached: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Kill this process where ``SIYU_CRASH_AT`` says so, stop it where ``SIYU_STOP_AT`` does.

    Each holds ``name``, or ``name:N`` for the Nth time that the point is reached.
    """
    if name not in _ARMED:
        return
    _reached[name] += 1
    for times, sent in _ARMED[name]:
        if _reached[name] == times:
            os.kill(os.getpid(), sent)
