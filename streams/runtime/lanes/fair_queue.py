"""Whose turn it is on the loop: one slice of work, then whatever came from the broker."""

import asyncio
from collections import deque


class FairQueue:
    """Lets those who wait go on in order, one in each turn of the loop.

    Slices of several lanes in one turn would make each step of a commit wait for all of them.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def next_turn(self) -> None:
        """Return when it is the caller's turn."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            loop.call_soon(self._pass_on, loop)
        await turn

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        turn = self._waiting.popleft()
        if not turn.done():  # who waited may be gone
            turn.set_result(None)
        if self._waiting:
            loop.call_soon(self._pass_on, loop)
