"""A TCP proxy before ClickHouse that knows each insert by its token, and can lose its answer."""

import asyncio
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

# A setting in a query packet, which is never compressed: name, flags, length, value.
_TOKEN: Final = re.compile(rb"insert_deduplication_token[\x00-\x03](.)", re.DOTALL)
# What the driver sends before each query on a connection that it has used before.
_PING: Final = b"\x04"
_TAKEN_WITHIN_S: Final = 5.0


class Fault(Enum):
    """What befalls an insert."""

    CUT_ANSWER = "the server has taken it; the connection ends before it can say so"
    CUT_ROWS = "the connection ends amid its rows"


@dataclass(eq=False)
class Insert:
    """One INSERT that passed: ``era`` is what the test called the time of its connection."""

    token: str
    era: int
    fault: Fault | None = None
    sampled: bool = False
    sent: bool = False
    answered: bool = False
    taken_then_cut: bool = False


@dataclass(eq=False)
class _Link:
    """One connection of a lander, with the insert that is under way on it."""

    era: int
    down: asyncio.StreamWriter
    up: asyncio.StreamWriter
    insert: Insert | None = None
    tail: bytes = b""

    def cut(self) -> None:
        self.down.transport.abort()
        self.up.transport.abort()


@dataclass
class Proxy:
    """Forwards to ``target`` (a native URL) from a port of its own; counts what it saw.

    ``taken`` tells whether the server holds the rows of a token.
    """

    target: str
    taken: Callable[[str], bool]
    era: int = 0
    url: str = ""
    inserts: list[Insert] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _links: set[_Link] = field(default_factory=set)
    _served: set[asyncio.Task[Any]] = field(default_factory=set)
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _end: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _held: set[Insert] = field(default_factory=set)
    _lost: bool = False

    def fail_next(self, fault: Fault, count: int) -> None:
        """Let a fault befall the next inserts."""
        self._faults += [fault] * count

    @property
    def faults_left(self) -> int:
        """How many of the faults asked for are still to come."""
        return len(self._faults)

    @contextmanager
    def holding_answers(self, *, lost: bool = False) -> Iterator[Callable[[], set[str]]]:
        """Keep back all answers meanwhile; yields whose are kept back now, by token.

        ``lost``: then their connections end without them, as if they had never left the server.
        """
        self._lost = lost
        self._tell(self._open.clear)
        try:
            yield lambda: {insert.token for insert in list(self._held)}
        finally:
            self._tell(self._open.set)

    def eras_by_token(self) -> dict[str, list[int]]:
        """Return the eras in which each token was sent, in order; two or more are retries."""
        found: dict[str, list[int]] = defaultdict(list)
        for insert in list(self.inserts):
            found[insert.token].append(insert.era)
        return found

    def times_sent(self, token: str) -> int:
        """Return how often an insert was sent."""
        return len(self.eras_by_token()[token])

    def retried(self) -> set[str]:
        """Return the tokens that were sent more than once."""
        return {token for token, eras in self.eras_by_token().items() if len(eras) > 1}

    def stop(self) -> None:
        """End all connections and the server."""
        self._tell(self._end.set)

    def _tell(self, act: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(act)

    async def serve(self, started: threading.Event) -> None:
        """Serve until stopped."""
        self._loop = asyncio.get_running_loop()
        self._open.set()
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        parts = urlsplit(self.target)
        port = server.sockets[0].getsockname()[1]
        self.url = parts._replace(netloc=f"default@127.0.0.1:{port}").geturl()
        started.set()
        async with server:
            await self._end.wait()
            self._open.set()
            for link in list(self._links):
                link.cut()
            if self._served:
                await asyncio.wait(self._served)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.target)
        era = self.era
        served = asyncio.current_task()
        assert served is not None
        self._served.add(served)
        try:
            up_reader, up_writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(era, writer, up_writer)
        self._links.add(link)
        try:
            await asyncio.gather(self._up(reader, link), self._down(up_reader, link))
        finally:
            self._links.discard(link)
            link.cut()

    async def _up(self, reader: asyncio.StreamReader, link: _Link) -> None:
        try:
            while data := await reader.read(65536):
                self._see(data, link)
                insert = link.insert
                if insert and insert.fault is Fault.CUT_ROWS and insert.sent:
                    link.up.write(data[: len(data) // 2])
                    await link.up.drain()
                    link.cut()
                    return
                link.up.write(data)
                await link.up.drain()
            link.up.close()
        except OSError:  # reset by either side: so is the other, as without a proxy
            link.cut()

    def _see(self, data: bytes, link: _Link) -> None:
        if link.insert and link.insert.answered and data == _PING:
            link.insert = None  # what the server says next is no answer to it
        if link.insert and link.insert.sampled:
            link.insert.sent = True
        seen = link.tail + data
        for match in _TOKEN.finditer(seen):
            value = seen[match.end() : match.end() + match[1][0]]
            if len(value) < match[1][0]:
                continue  # cut by the chunk: the tail has it whole next time
            fault = self._faults.pop(0) if self._faults else None
            link.insert = Insert(value.decode(), link.era, fault)
            self.inserts.append(link.insert)
            seen = seen[match.end() + len(value) :]
            break
        link.tail = seen[-300:]

    async def _down(self, reader: asyncio.StreamReader, link: _Link) -> None:
        try:
            while data := await reader.read(65536):
                insert = link.insert
                if insert is not None:
                    # First a sample of the columns comes; what comes after rows is the answer.
                    if insert.sent:
                        await self._answer(insert)
                    insert.sampled = True
                link.down.write(data)
                await link.down.drain()
                if insert is not None:
                    insert.answered = insert.sent
            link.down.close()
        except OSError:
            link.cut()

    async def _answer(self, insert: Insert) -> None:
        if insert.fault is Fault.CUT_ANSWER and not insert.taken_then_cut:
            deadline_s = time.monotonic() + _TAKEN_WITHIN_S
            while time.monotonic() < deadline_s:
                if await asyncio.to_thread(self.taken, insert.token):
                    insert.taken_then_cut = True
                    raise ConnectionResetError
                await asyncio.sleep(0.05)
        if not self._open.is_set():
            self._held.add(insert)
            try:
                await self._open.wait()
            finally:
                self._held.discard(insert)
            if self._lost:
                raise ConnectionResetError


@contextmanager
def proxy(target: str, taken: Callable[[str], bool]) -> Iterator[Proxy]:
    """Yield a proxy that serves in a thread of its own."""
    one = Proxy(target, taken)
    started = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(one.serve(started)), name="proxy")
    thread.start()
    started.wait()
    try:
        yield one
    finally:
        one.stop()
        thread.join()
