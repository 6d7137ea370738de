"""The event loop of the processes that are in an event's way."""

import uvloop


def use_fast_loop() -> None:
    """Make this process's next event loop uvloop's; before anything asks for one."""
    uvloop.install()
