"""Look-ups at the worker: ``GET /users/{any identifier}``, answered by whoever holds the user.

Each worker sends its address to the group with its subscription, and the group's leader
sends everybody the owner of each partition (Faust's own routing metadata): so any worker can
be asked. It answers 200 with a ``schemas.profiles.Found``, 404 if no partition has such a user,
and 503 with ``Retry-After`` while one that could have it is being restored or has no owner.

Every request needs ``Authorization: Bearer $SIYU_API_TOKEN``; without a token nothing is
served. A phone or an e-mail goes into the body of a POST: ``{"phone": "13800138000"}``.
"""

import asyncio
import hmac
import json
from typing import Any, Final

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from schemas.profiles import encode
from schemas.settings import Settings
from schemas.topics import EVENTS
from streams.core.intake.identify import Identifier
from streams.kafka_client.producing import partition_of
from streams.runtime.serving.group import USERS_PATH
from streams.runtime.serving.identifiers import candidates, from_body
from streams.runtime.serving.lookup import Lookup, Nobody
from streams.runtime.worker import FaustWorker

log = structlog.get_logger()

AGENT: Final = "engage"
_FORWARDED: Final = "X-Siyu-Forwarded"
_RETRY_S: Final = 1
_PEER_TIMEOUT_S: Final = 2.0
_BODY_BYTES: Final = 4096
# Over it a request is answered 503: look-ups must not crowd out the batches.
_AT_ONCE: Final = 64
Answer = tuple[int, dict[str, Any] | bytes]


class UserApi:
    """The routes; ``advertise`` gives the group this worker's address once the server listens."""

    def __init__(self, settings: Settings, worker: FaustWorker, lookup: Lookup) -> None:
        self._settings, self._worker, self._lookup = settings, worker, lookup
        self._token = settings.api_token.get_secret_value()
        key = settings.pii_key.get_secret_value().encode()
        self._identifier = Identifier(key) if key else None
        self._session: aiohttp.ClientSession | None = None
        self._own = URL()
        self._busy = 0

    @property
    def served(self) -> bool:
        """Tell whether look-ups are served at all."""
        return bool(self._token)

    def add_routes(self, app: web.Application) -> None:
        """Put the routes on the worker's server."""
        app.router.add_get(USERS_PATH + "/{identifier:.+}", self._get)
        app.router.add_post(USERS_PATH, self._post)

    def advertise(self, host: str, port: int) -> None:
        """Give the group the address of this worker; call it before the worker joins."""
        self._own = URL(self._settings.worker_api_url or f"http://{host}:{port}") / USERS_PATH[1:]
        self._worker.app.conf.canonical_url = self._own
        timeout = aiohttp.ClientTimeout(total=_PEER_TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout)

    async def close(self) -> None:
        """Let go of the connections to other workers."""
        if self._session is not None:
            await self._session.close()

    async def _get(self, request: web.Request) -> web.Response:
        return await self._guarded(request, request.match_info["identifier"])

    async def _post(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            return _refused()
        if (request.content_length or 0) > _BODY_BYTES:
            return _response(400, {"problem": f"a body of {_BODY_BYTES} bytes at most"})
        try:
            body = await request.json()
        except ValueError:
            body = None
        identifier = from_body(body, self._identifier)
        if identifier is None:
            hint = 'one of {"phone": ..}, {"email": ..}, {"identifier": ..} or a kind of identity'
            return _response(400, {"problem": "no identifier in the body", "hint": hint})
        return await self._guarded(request, identifier)

    async def _guarded(self, request: web.Request, identifier: str) -> web.Response:
        if not self._allowed(request):
            return _refused()
        names = candidates(identifier)
        if not names:
            return _response(400, {"problem": "that is no identifier", "hint": "user_id:me, or me"})
        if self._busy >= _AT_ONCE:
            return _response(503, {"problem": f"{_AT_ONCE} look-ups are under way"})
        self._busy += 1
        try:
            return _response(*await self._answer(names, forwarded=_FORWARDED in request.headers))
        finally:
            self._busy -= 1

    def _allowed(self, request: web.Request) -> bool:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(token.encode(), self._token.encode())

    async def _answer(self, names: list[str], *, forwarded: bool) -> Answer:
        partitions = self._partitions()
        lanes = self._worker.lanes.get(AGENT)
        if lanes is None or not partitions:
            return 503, {"problem": "this worker has joined no group yet"}
        answer = await self._lookup.find(lanes, names, partitions)
        if not isinstance(answer, Nobody):
            return 200, encode(answer)
        asked = set(answer.asked)
        if not forwarded:
            for status, body in await self._ask_others(names, partitions):
                if status == web.HTTPOk.status_code:
                    return status, body
                if isinstance(body, dict):
                    asked.update(body.get("partitions", ()))
        if forwarded or len(asked) >= partitions:
            return 404, {"problem": "no such user", "partitions": sorted(asked)}
        missing = sorted(set(range(partitions)) - asked)
        return 503, {"problem": "being restored, or without an owner", "partitions": missing}

    async def _ask_others(self, names: list[str], partitions: int) -> list[Answer]:
        """Ask the owner of the key that is asked for, then, if it knows nothing, all others."""
        owners = self._owners()
        others = set(owners.values()) - {str(self._own)}
        first = {owners.get(partition_of(name.encode(), partitions), "") for name in names} & others
        answers = await asyncio.gather(*(self._ask(url, names) for url in first))
        if any(status == web.HTTPOk.status_code for status, _ in answers):
            return sorted(answers, key=lambda answer: answer[0])
        answers += await asyncio.gather(*(self._ask(url, names) for url in others - first))
        return sorted(answers, key=lambda answer: answer[0])

    async def _ask(self, url: str, names: list[str]) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}", _FORWARDED: "1"}
        # The whole identity: the other side must not guess anew what a bare value stands for.
        name = names[0] if len(names) == 1 else names[0].partition(":")[2]
        if self._session is None:
            return 503, {}
        try:
            async with self._session.get(URL(url) / name, headers=headers) as answer:
                body = await answer.read()
                return answer.status, body if answer.ok else json.loads(body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as problem:
            log.warning("a worker does not answer look-ups", url=url, problem=repr(problem))
            return 503, {}

    def _partitions(self) -> int:
        return len(getattr(self._worker.app.assignor, "seen", {}).get(EVENTS.name, ()))

    def _owners(self) -> dict[int, str]:
        """Return the address of the worker of each partition, as the leader sent it last."""
        topics_by_url = self._worker.app.router.external_topics_metadata()
        return {
            partition: url
            for url, topics in topics_by_url.items()
            if URL(url).path == USERS_PATH
            for partition in topics.get(EVENTS.name, ())
        }


def _refused() -> web.Response:
    hint = "Authorization: Bearer, with the worker's SIYU_API_TOKEN"
    return web.json_response({"problem": "not allowed", "hint": hint}, status=401)


def _response(status: int, body: dict[str, Any] | bytes) -> web.Response:
    if isinstance(body, bytes):
        return web.Response(body=body, status=status, content_type="application/json")
    retry = web.HTTPServiceUnavailable.status_code
    headers = {"Retry-After": str(_RETRY_S)} if status == retry else None
    return web.json_response(body, status=status, headers=headers)
