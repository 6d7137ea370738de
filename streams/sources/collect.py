"""The HTTP edge: an answer of success is given after the broker acked, never before."""

import asyncio
import logging
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger
from aiohttp.web_protocol import RequestPayloadError

from schemas.crash import crash_point
from schemas.errors import BrokerUnavailable, ConfigInvalid
from schemas.raw import Door
from schemas.rejects import Reject
from schemas.settings import Settings
from schemas.sources import Sources, load_sources
from streams.sources import official_account, segment, sensors
from streams.sources.budget import Budget, Hold, Overloaded, read_body
from streams.sources.doors import Arrival, Record, Refusal
from streams.sources.metrics import CollectMetrics
from streams.sources.publisher import Publisher

REQUEST_TIMEOUT_S: Final = 10.0
# WeChat gives up after 5 s and pushes again.
WECHAT_TIMEOUT_S: Final = 4.5
_SHUTDOWN_TIMEOUT_S: Final = REQUEST_TIMEOUT_S + 2.0
# Sensors' GET carries its events in the URL.
_MAX_URL_BYTES: Final = 256 * 1024
_PIXEL: Final = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)

Work = Callable[[web.Request, Hold, Arrival], Awaitable[web.Response]]
Handler = Callable[[web.Request], Awaitable[web.Response]]
log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then let requests in flight have their acks, and return.

    Raises ``ConfigInvalid`` for a wrong sources file or an address that is taken.
    """
    sources = load_sources(settings.sources)
    official_account.check(sources)
    asyncio.run(_serve(settings, sources))


def build_app(settings: Settings, sources: Sources) -> web.Application:
    """Return the application with all doors; it connects to the broker when it starts."""
    publisher = Publisher(settings.kafka)
    edge = Edge(settings, sources, publisher)

    async def connected(_: web.Application) -> AsyncIterator[None]:
        publisher.start()
        yield
        await publisher.stop()

    app = web.Application()
    app.cleanup_ctx.append(connected)
    app.add_routes(edge.routes())
    return app


class _Brief(logging.Filter):
    """Keeps the noise of peers that speak no HTTP to one line, without their bytes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten what aiohttp says of a broken request."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = "a request that is not HTTP: %s", (type(error).__name__,)
            record.exc_info = None
        return True


async def _serve(settings: Settings, sources: Sources) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server_logger.addFilter(_Brief())
    runner = web.AppRunner(
        build_app(settings, sources),
        access_log=None,
        auto_decompress=False,  # a bomb must meet our cap, not aiohttp's
        max_line_size=_MAX_URL_BYTES,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
    )
    await runner.setup()
    try:
        host, port = settings.collect_host, settings.collect_port
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as taken:
            where = "SIYU_COLLECT_PORT"
            raise ConfigInvalid(where, f"cannot listen on {host}:{port}: {taken}") from taken
        log.info("collect listens", host=host, port=runner.addresses[0][1])
        await stopped.wait()
        log.info("collect stops")
    finally:
        await runner.cleanup()


class Edge:
    """The doors' handlers, with what they share: sources, publisher, memory bound, metrics."""

    def __init__(self, settings: Settings, sources: Sources, publisher: Publisher) -> None:
        self._settings, self._sources, self._publisher = settings, sources, publisher
        self._metrics = CollectMetrics()
        self._budget = Budget(settings.collect_max_in_flight_bytes, self._metrics.in_flight_bytes)

    def routes(self) -> list[web.RouteDef]:
        """Return the table of all paths."""
        call = self._door("segment", self._segment)
        event = self._door("sensors", self._sensors)
        return [
            *(web.post(f"/v1/{name}", call) for name in ("batch", *segment.CALLS)),
            *(web.post(path, event) for path in ("/sa", "/sa.gif", "/debug")),
            *(web.get(path, event, allow_head=False) for path in ("/sa", "/sa.gif", "/debug")),
            web.get("/wechat/{appid}", self._door("wechat", self._wechat_check), allow_head=False),
            web.post("/wechat/{appid}", self._door("wechat", self._wechat_push, WECHAT_TIMEOUT_S)),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics_text),
        ]

    def _door(self, door: Door, work: Work, timeout_s: float = REQUEST_TIMEOUT_S) -> Handler:
        """Wrap a door: its time, its memory, and an answer for each way it can go wrong."""

        async def handle(request: web.Request) -> web.Response:
            arrival = Arrival(time.time_ns() // 1_000_000, uuid.uuid4().hex)
            with self._metrics.request_seconds.labels(door).time(), Hold(self._budget) as hold:
                try:
                    async with asyncio.timeout(timeout_s):
                        return await work(request, hold, arrival)
                except Overloaded:
                    why = Refusal(503, "overloaded", "too many bytes in flight; send it again")
                except BrokerUnavailable as away:
                    why = Refusal(503, "broker_unavailable", f"{away}; send the request again")
                except TimeoutError:
                    why = Refusal(503, "timeout", f"not done in {timeout_s:g} s; send it again")
                except (RequestPayloadError, ConnectionError) as broken:
                    why = Refusal(400, "body_broken", f"the body did not arrive whole: {broken}")
                except Exception:
                    log.exception("fault", door=door, path=request.path, id=arrival.request_id)
                    why = Refusal(500, "fault", f"our fault, see the log: {arrival.request_id}")
                return self._refuse(door, request, why)

        return handle

    async def _segment(self, request: web.Request, hold: Hold, arrival: Arrival) -> web.Response:
        cap_bytes = self._settings.collect_max_body_bytes
        body, whole = b"", (request.content_length or 0) <= cap_bytes
        if whole:
            body, whole = await read_body(request, hold, cap_bytes=cap_bytes)
        self._metrics.body_bytes.labels("segment").inc(len(body))
        if not whole:
            what = f"the body is over {cap_bytes} bytes; send smaller batches"
            return self._refuse("segment", request, Refusal(413, "body_too_large", what))
        encoding = request.headers.get("Content-Encoding", "").lower()
        plain = segment.plain_body(
            body, encoding, cap_bytes=self._settings.collect_max_inflated_bytes
        )
        if isinstance(plain, Refusal):
            return self._refuse("segment", request, plain)
        hold.take(len(plain))
        call, auth = request.path.rpartition("/")[2], request.headers.get("Authorization", "")
        if call == "batch":
            records = segment.read_batch(plain, auth, arrival, self._sources)
        else:
            records = segment.read_call(call, plain, auth, arrival, self._sources)
        if isinstance(records, Refusal):
            return self._refuse("segment", request, records)
        await self._store("segment", records, hold)
        return web.json_response({"success": True})

    async def _sensors(self, request: web.Request, hold: Hold, arrival: Arrival) -> web.Response:
        cap_bytes = self._settings.collect_max_body_bytes
        query = _raw_query(request)
        body, whole = await read_body(request, hold, cap_bytes=cap_bytes)
        self._metrics.body_bytes.labels("sensors").inc(len(body) + len(query))
        if whole:
            inflated = self._settings.collect_max_inflated_bytes
            records = sensors.read(body, query, arrival, self._sources, cap_bytes=inflated)
        else:
            why = Reject("collect", "body_too_large", f"only the first {cap_bytes} bytes are kept")
            account = sensors.find_account(query, b"", self._sources)
            records = [sensors.whole(why, body, arrival, account)]
        if request.headers.get("Dry-Run", "").lower() == "true":
            bad = [record.reason for record in records if record.reason]
            return web.json_response({"valid": len(records) - len(bad), "rejected": bad})
        await self._store("sensors", records, hold)
        if request.method == "GET":
            return web.Response(body=_PIXEL, content_type="image/gif")
        return web.Response()

    async def _wechat_check(
        self, request: web.Request, _hold: Hold, _arrival: Arrival
    ) -> web.Response:
        account = self._sources.wechat.get(request.match_info["appid"])
        if account is None:
            return self._refuse("wechat", request, _UNKNOWN_APPID)
        echo = official_account.verify_url(account, request.query)
        if isinstance(echo, Refusal):
            return self._refuse("wechat", request, echo)
        return web.Response(text=echo)

    async def _wechat_push(
        self, request: web.Request, hold: Hold, arrival: Arrival
    ) -> web.Response:
        appid = request.match_info["appid"]
        account = self._sources.wechat.get(appid)
        if account is None:
            return self._refuse("wechat", request, _UNKNOWN_APPID)
        # One byte over the bound, so that the door sees that there was more.
        cap_bytes = official_account.MAX_BODY_BYTES + 1
        body, _ = await read_body(request, hold, cap_bytes=cap_bytes)
        self._metrics.body_bytes.labels("wechat").inc(len(body))
        records = official_account.read(appid, account, request.query, body, arrival)
        if isinstance(records, Refusal):
            return self._refuse("wechat", request, records)
        await self._store("wechat", records, hold)
        return web.Response(text="success")

    async def _store(self, door: Door, records: Sequence[Record], hold: Hold) -> None:
        hold.take(sum(record.cost_bytes for record in records))
        crash_point("collect.before_publish")
        await self._publisher.publish(records, timeout_s=REQUEST_TIMEOUT_S)
        crash_point("collect.acked")
        for record in records:
            self._metrics.items.labels(door, record.reason).inc()

    def _refuse(self, door: Door, request: web.Request, why: Refusal) -> web.Response:
        self._metrics.refused.labels(door, why.code).inc()
        if door == "sensors" and request.transport is not None and self._forgets(request):
            # The mini-program SDK clears its queue on any answer: it must get none. A proxy in
            # front has to pass this on (nginx: return 444), not turn it into a 502.
            request.transport.abort()
        body = {"success": False, "code": why.code, "message": why.message}
        retry = {"Retry-After": "1"} if why.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        return web.json_response(body, status=why.status, headers=retry)

    def _forgets(self, request: web.Request) -> bool:
        """Tell if the sender may be a mini-program; unless its key says other, it may."""
        account = sensors.find_account(_raw_query(request), b"", self._sources)
        return account is None or account.source == "mini_program"

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _readyz(self, _: web.Request) -> web.Response:
        problem = await self._publisher.problem()
        body = {"ready": problem is None, "problem": problem}
        return web.json_response(body, status=503 if problem else 200)

    async def _metrics_text(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), content_type="text/plain", charset="utf-8")


_UNKNOWN_APPID: Final = Refusal(404, "unknown_appid", "no account with this appid in the sources")


def _raw_query(request: web.Request) -> bytes:
    """Return the query as sent: parsing it would turn a raw plus of base64 into a blank."""
    return request.raw_path.partition("?")[2].encode("utf-8", "surrogateescape")
