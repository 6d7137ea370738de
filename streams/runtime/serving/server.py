"""The worker's server: /metrics for Prometheus, /healthz and /readyz, and look-ups of users."""

import socket
from typing import Final

from aiohttp import web

from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from streams.agents.ingest import Ingest
from streams.runtime.serving.lookups import UserApi
from streams.runtime.serving.metrics import WorkerMetrics
from streams.runtime.worker import FaustWorker

_ANYWHERE: Final = ("0.0.0.0", "::", "")  # noqa: S104 - what a host may be set to


class StatusPage:
    """Serves on the worker's loop, where ``SIYU_WORKER_METRICS_PORT`` or a token is set.

    ``/healthz`` is 503 once a fault has ended the worker; ``/readyz`` until every lane
    that the worker holds has restored its state.
    """

    def __init__(
        self, settings: Settings, worker: FaustWorker, ingest: Ingest, api: UserApi
    ) -> None:
        self._settings, self._worker, self._api = settings, worker, api
        self._metrics = WorkerMetrics(worker, ingest)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Begin to serve; raises ``ConfigInvalid`` if the port is taken."""
        host, port = self._settings.worker_metrics_host, self._settings.worker_metrics_port
        if not port and not self._api.served:
            return
        app = web.Application()
        if self._api.served:
            self._api.add_routes(app)
        app.router.add_get("/metrics", self._metrics_page)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as taken:
            hint = "another worker on this machine? give each its port"
            raise ConfigInvalid(
                "SIYU_WORKER_METRICS_PORT", f"cannot listen on {host}:{port}", hint=hint
            ) from taken
        if self._api.served:
            port = self._runner.addresses[0][1]
            self._api.advertise(socket.gethostname() if host in _ANYWHERE else host, port)

    async def stop(self) -> None:
        """Stop serving."""
        await self._api.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics_page(self, _: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=self._metrics.text(), headers=headers)

    async def _healthz(self, _: web.Request) -> web.Response:
        failure = self._worker.failure
        if failure is not None:
            return web.json_response({"ok": False, "problem": str(failure)}, status=503)
        return web.json_response({"ok": True})

    async def _readyz(self, _: web.Request) -> web.Response:
        lanes = [
            lane
            for lanes_of_agent in self._worker.lanes.values()
            for lane in lanes_of_agent.all_lanes()
        ]
        opened = sum(lane.opened.is_set() for lane in lanes)
        ready = bool(lanes) and opened == len(lanes)
        body = {"ok": ready, "lanes": len(lanes), "open": opened}
        return web.json_response(body, status=200 if ready else 503)
