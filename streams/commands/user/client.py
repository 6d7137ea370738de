"""Ask a worker for a user, as a program beside the workers does."""

import asyncio
from typing import Any, Final

import aiohttp
from aiohttp import web
from yarl import URL

from schemas.errors import ConfigInvalid, PartMissing
from schemas.profiles import Found, decode_found
from schemas.settings import Settings
from streams.runtime.serving.group import addresses
from streams.runtime.serving.identifiers import PERSONAL

# A worker that takes a partition over answers 503 until its state is there.
PATIENCE_S: Final = 30.0
_TIMEOUT_S: Final = 5.0
_REMEDY: Final = "start `./siyu worker`, with the same SIYU_API_TOKEN"


async def ask(
    settings: Settings, identifier: str, *, patience_s: float = PATIENCE_S
) -> Found | None:
    """Return a user, ``None`` if nobody has the identifier (``phone:138…`` in clear, too).

    Raises ``PartMissing`` where no worker answers, ``ConfigInvalid`` for a wrong token or
    identifier.
    """
    token = settings.api_token.get_secret_value()
    if not token:
        raise ConfigInvalid("SIYU_API_TOKEN", "is empty", hint="`./siyu up` makes one")
    workers = await addresses(settings)
    headers, timeout = {"Authorization": f"Bearer {token}"}, aiohttp.ClientTimeout(_TIMEOUT_S)
    deadline_s = asyncio.get_running_loop().time() + patience_s
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        while True:
            problem, wait_s = "no worker serves look-ups", 1.0
            for worker in workers:
                try:
                    status, retry_s, body = await _ask_one(session, worker, identifier)
                except (aiohttp.ClientError, TimeoutError) as down:
                    problem = f"{worker} does not answer ({down!r})"
                    continue
                if status == web.HTTPOk.status_code:
                    return decode_found(body)
                if status == web.HTTPNotFound.status_code:
                    return None
                if status != web.HTTPServiceUnavailable.status_code:
                    raise ConfigInvalid(worker, f"status {status}", hint=body.decode())
                problem, wait_s = f"{worker}: {body.decode()}", retry_s
            if asyncio.get_running_loop().time() + wait_s > deadline_s or not workers:
                raise PartMissing("worker", problem, remedy=_REMEDY)
            await asyncio.sleep(wait_s)
            workers = await addresses(settings)


async def _ask_one(
    session: aiohttp.ClientSession, worker: str, identifier: str
) -> tuple[int, float, bytes]:
    kind, _, value = identifier.partition(":")
    personal = kind in PERSONAL
    call: Any = session.post(worker, json={kind: value}) if personal else None
    async with call or session.get(URL(worker) / identifier) as answer:
        retry_s = float(answer.headers.get("Retry-After", "1"))
        return answer.status, retry_s, await answer.read()
