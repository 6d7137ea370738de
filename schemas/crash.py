"""Named crash points: where the fault tests end or freeze a process, as the outside could."""

import os
import signal
from collections import Counter
from typing import Final

# Not in the settings: they must be readable before them, and no user may set them by file.
_SIGNALS: Final = {"SIYU_CRASH_AT": signal.SIGKILL, "SIYU_STOP_AT": signal.SIGSTOP}

_reached: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Kill this process where ``SIYU_CRASH_AT`` says so, stop it where ``SIYU_STOP_AT`` does.

    Each holds ``name``, or ``name:N`` for the Nth time that the point is reached.
    """
    for variable, sent in _SIGNALS.items():
        point, _, times = os.environ.get(variable, "").partition(":")
        if point == name:
            _reached[variable] += 1
            if _reached[variable] == int(times or 1):
                os.kill(os.getpid(), sent)
