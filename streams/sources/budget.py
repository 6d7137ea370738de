"""Memory that requests in flight may hold together, and reading of bodies under it."""

from types import TracebackType
from typing import Final, Self

from aiohttp import web
from prometheus_client import Gauge

_CHUNK_BYTES: Final = 64 * 1024


class Overloaded(Exception):
    """The bound is reached: answer 503, the client sends again."""


class Budget:
    """The one bound on all requests of a process."""

    def __init__(self, limit_bytes: int, gauge: Gauge) -> None:
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0
        # Read at each scrape instead of set at each of a request's four changes.
        gauge.set_function(lambda: self._taken_bytes)

    def shift(self, delta_bytes: int) -> None:
        """Take (or give back) bytes; raises ``Overloaded`` and takes nothing over the bound."""
        if delta_bytes > 0 and self._taken_bytes + delta_bytes > self._limit_bytes:
            raise Overloaded
        self._taken_bytes += delta_bytes


class Hold:
    """What one request holds; all of it is given back at the end of its ``with``."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def take(self, more_bytes: int) -> None:
        """Hold more; raises ``Overloaded``."""
        self._budget.shift(more_bytes)
        self._bytes += more_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._budget.shift(-self._bytes)


async def read_body(request: web.Request, hold: Hold, *, cap_bytes: int) -> tuple[bytes, bool]:
    """Return the body as sent, or its first ``cap_bytes``, and whether that is all of it."""
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_chunked(_CHUNK_BYTES):
        hold.take(len(chunk))
        parts.append(chunk)
        size += len(chunk)
        if size > cap_bytes:
            return b"".join(parts)[:cap_bytes], False
    return b"".join(parts), True
