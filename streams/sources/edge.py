"""What every door's handler stands in: time, memory, metrics, CORS and an answer for each fault."""

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final, TypeVar

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from schemas import clock
from schemas.crash import crash_point
from schemas.errors import BrokerUnavailable
from schemas.inbound import Door
from schemas.settings import Settings
from schemas.sources import Sources
from streams.sources.budget import Budget, Hold, Overloaded
from streams.sources.keys import Keys
from streams.sources.metrics import CollectMetrics
from streams.sources.publisher import Publisher
from streams.sources.records import Arrival, Record, Refusal

REQUEST_TIMEOUT_S: Final = 10.0
_PREFLIGHT_AGE_S: Final = 86_400

Work = Callable[[web.Request, Hold, Arrival], Awaitable[web.Response]]
Refuse = Callable[[web.Request, Refusal], web.Response]
Handler = Callable[[web.Request], Awaitable[web.Response]]
log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")


class Edge:
    """What the doors share: sources, keys, publisher, memory bound, metrics."""

    def __init__(self, settings: Settings, sources: Sources, publisher: Publisher) -> None:
        self.settings, self.sources, self.publisher = settings, sources, publisher
        self.keys = Keys(sources)
        self.metrics = CollectMetrics()
        self._requests = 0
        self._budget = Budget(settings.collect_max_in_flight_bytes, self.metrics.in_flight_bytes)

    def door(
        self,
        door: Door,
        work: Work,
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
        refuse: Refuse | None = None,
    ) -> Handler:
        """Wrap a door's work; ``refuse`` stands in where an answer would do harm."""
        seconds = self.metrics.request_seconds.labels(door)
        in_flight = self.metrics.in_flight_requests.labels(door)
        answer = refuse or self.answer

        async def handle(request: web.Request) -> web.Response:
            arrival = Arrival(clock.now_ms(), os.urandom(16).hex())
            self._requests += 1
            in_flight.inc()
            done: web.Response | Refusal
            try:
                with seconds.time(), Hold(self._budget) as hold:
                    async with asyncio.timeout(timeout_s):
                        done = await self._work(work, request, hold, arrival)
            except Exception as error:  # noqa: BLE001 - each has its answer; none may end a door
                done = _why(error) or _fault(error, door, request, arrival)
            finally:
                self._requests -= 1
                in_flight.dec()
            if isinstance(done, Refusal):
                self.metrics.refused.labels(door, done.code).inc()
                done = answer(request, done)
            return shared(request, done)

        return handle

    async def _work(
        self, work: Work, request: web.Request, hold: Hold, arrival: Arrival
    ) -> web.Response:
        if self._requests > self.settings.collect_max_requests:
            raise Overloaded
        return await work(request, hold, arrival)

    async def store(self, door: Door, records: Sequence[Record], hold: Hold) -> None:
        """Return once the broker has all records; raises ``BrokerUnavailable``, ``Overloaded``."""
        hold.take(sum([record.cost_bytes for record in records]))
        crash_point("collect.before_publish")
        await self.publisher.publish(records, timeout_s=REQUEST_TIMEOUT_S)
        crash_point("collect.acked")
        counts: dict[str, int] = {}
        for record in records:
            counts[record.reason] = counts.get(record.reason, 0) + 1
        for reason, count in counts.items():
            self.metrics.items.labels(door, reason).inc(count)

    @staticmethod
    def answer(_request: web.Request, why: Refusal) -> web.Response:
        """Return the answer that says why nothing was stored."""
        body = {"success": False, "code": why.code, "message": why.message}
        again = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}
        wait_s = str(max(1, math.ceil(why.retry_after_s)))
        headers = {"Retry-After": wait_s} if why.status in again else {}
        return web.json_response(body, status=why.status, headers=headers)


class Refused(Exception):
    """Carries a refusal out of a door's work."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why.code)
        self.why = why


def unless_refused(result: _Result | Refusal) -> _Result:
    """Return what a door read; raises ``Refused`` where that is a refusal."""
    if isinstance(result, Refusal):
        raise Refused(result)
    return result


def _why(error: Exception) -> Refusal | None:
    """Return the refusal for what can go wrong; ``None`` for a fault of ours."""
    match error:
        case Refused(why=why):
            return why
        case Overloaded():
            return Refusal(503, "overloaded", "too much in flight; send it again")
        case BrokerUnavailable():
            return Refusal(503, "broker_unavailable", f"{error}; send the request again")
        case TimeoutError():
            return Refusal(503, "timeout", "not done in time; send it again")
        case RequestPayloadError() | ConnectionError():
            return Refusal(400, "body_broken", f"the body did not arrive whole: {error}")
    return None


def _fault(error: Exception, door: Door, request: web.Request, arrival: Arrival) -> Refusal:
    # The route and not the path, which may hold a key.
    resource = request.match_info.route.resource
    where = resource.canonical if resource else ""
    log.error("fault", door=door, route=where, id=arrival.request_id, exc_info=error)
    return Refusal(500, "fault", f"our fault, see the log: {arrival.request_id}")


def shared(request: web.Request, response: web.Response) -> web.Response:
    """Let any page read the answer: the keys in browsers are public, and cookies are not read."""
    origin = request.headers.get("Origin")
    if origin is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Vary"] = "Origin"
    return response


async def preflight(request: web.Request) -> web.Response:
    """Answer a browser's question before it sends from a page of another origin."""
    asked = request.headers.get("Access-Control-Request-Headers", "content-type")
    headers = {
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        "Access-Control-Allow-Headers": asked,
        "Access-Control-Max-Age": str(_PREFLIGHT_AGE_S),
    }
    return shared(request, web.Response(status=204, headers=headers))


def raw_query(request: web.Request) -> bytes:
    """Return the query as sent: parsing it would turn a raw plus of base64 into a blank."""
    return request.raw_path.partition("?")[2].encode("utf-8", "surrogateescape")
