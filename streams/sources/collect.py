"""The HTTP edge: an answer of success is given after the broker acked, never before."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger

from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from schemas.signals import on_stop_signals
from schemas.sources import Sources, load_sources
from streams.sources.edge import REQUEST_TIMEOUT_S, Edge
from streams.sources.publisher import Publisher
from streams.sources.segment import http as segment_http
from streams.sources.sensors import http as sensors_http
from streams.sources.wechat import crypto as wechat_crypto
from streams.sources.wechat import http as wechat_http
from streams.sources.wechat import replies
from streams.sources.wechat.replies import Replier

_SHUTDOWN_TIMEOUT_S: Final = REQUEST_TIMEOUT_S + 2.0
# Longer than the idle time of the proxies in front (nginx: 60 s), or they meet a closed door.
_IDLE_TIMEOUT_S: Final = 75.0
_SWEEP_EVERY_S: Final = 1.0
# Sensors' GET carries its events in the URL.
_MAX_URL_BYTES: Final = 256 * 1024

log = structlog.get_logger(__name__)


def run(settings: Settings, replier: Replier | None = None) -> None:
    """Serve until SIGTERM or SIGINT; then let requests in flight have their acks, and return.

    ``replier`` answers messages of official accounts instead of the ``replies`` of the sources
    file. Raises ``ConfigInvalid`` for a wrong sources file or an address that is taken.
    """
    sources = load_sources(settings.sources)
    wechat_crypto.check(sources)
    asyncio.run(_serve(settings, build_app(settings, sources, replier)))


def build_app(
    settings: Settings, sources: Sources, replier: Replier | None = None
) -> web.Application:
    """Return the application with all doors; it connects to the broker when it starts."""
    publisher = Publisher(settings.kafka, idempotent=settings.kafka_transactions)
    edge = Edge(settings, sources, publisher)

    async def connected(_: web.Application) -> AsyncIterator[None]:
        publisher.start()
        yield
        await publisher.stop()

    app = web.Application()
    app.cleanup_ctx.append(connected)
    app.add_routes(segment_http.routes(edge))
    app.add_routes(sensors_http.routes(edge))
    app.add_routes(wechat_http.routes(edge, replier or replies.from_sources(sources)))
    app.add_routes(_operators(edge))
    return app


def _operators(edge: Edge) -> list[web.RouteDef]:
    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def readyz(_: web.Request) -> web.Response:
        problem = await edge.publisher.problem()
        body = {"ready": problem is None, "problem": problem}
        return web.json_response(body, status=503 if problem else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=edge.metrics.text(), content_type="text/plain", charset="utf-8")

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/metrics", metrics),
    ]


class _Brief(logging.Filter):
    """Keeps the noise of peers that speak no HTTP to one line, without their bytes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten what aiohttp says of a broken request."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = "a request that is not HTTP: %s", (type(error).__name__,)
            record.exc_info = None
        return True


async def _serve(settings: Settings, app: web.Application) -> None:
    stopped = asyncio.Event()
    on_stop_signals(stopped.set)
    server_logger.addFilter(_Brief())
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # a bomb must meet our cap, not aiohttp's
        keepalive_timeout=_IDLE_TIMEOUT_S,
        max_line_size=_MAX_URL_BYTES,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
    )
    await runner.setup()
    sweeper = asyncio.create_task(_sweep(runner, settings.collect_head_timeout_s))
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
        sweeper.cancel()
        await runner.cleanup()


async def _sweep(runner: web.AppRunner, timeout_s: float) -> None:
    """Close new connections that send no whole head: aiohttp itself would wait for ever."""
    loop, waiting = asyncio.get_running_loop(), dict[object, float]()
    while True:
        await asyncio.sleep(_SWEEP_EVERY_S)
        server, now_s = runner.server, loop.time()
        seen = dict[object, float]()
        for connection in server.connections if server is not None else ():
            # Its count of requests is private, and the only sign that there was none yet.
            if connection._request_count or connection.transport is None:  # noqa: SLF001 - as said
                continue
            since_s = seen[connection] = waiting.get(connection, now_s)
            if now_s - since_s > timeout_s:
                connection.transport.abort()
        waiting = seen
