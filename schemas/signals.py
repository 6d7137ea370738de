"""How a process is asked to end."""

import asyncio
import signal
import threading
from collections.abc import Callable


def on_stop_signals(stop: Callable[[], object]) -> None:
    """Call *stop* on the running loop at each SIGTERM or SIGINT.

    Does nothing outside of the main thread: there, signals belong to the embedding program.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
