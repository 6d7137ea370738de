"""The paths of Sensors Data's SDKs: whatever is stored is answered alike, nothing is thrown away.

An answer may make the sender forget what it sent. So there is no 4xx here, and where nothing
was stored it is 503, or no answer at all for a mini-program, which forgets on any.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from aiohttp import web

from schemas.errors import ConfigInvalid
from schemas.raw import RawRecord, from_headers
from schemas.rejects import Reject
from streams.authoring.plan import load_plan
from streams.core.intake.validate import Validator
from streams.sources.budget import Hold, read_body
from streams.sources.edge import Edge, Refused, preflight, raw_query
from streams.sources.keys import Account, unsigned
from streams.sources.records import Arrival, Record, Refusal
from streams.sources.sensors import read as sensors

PATHS: Final = ("/sa", "/sa.gif", "/debug")
_PIXEL: Final = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
# Validation is pure work of some 50 µs an event: in between others have their turn.
_BREATHE_EVERY: Final = 50


def routes(edge: Edge) -> list[web.RouteDef]:
    """Return the table of the paths."""
    door = SensorsDoor(edge)
    event = edge.door("sensors", door.event, refuse=door.refuse)
    return [
        *(web.post(path, event) for path in PATHS),
        *(web.get(path, event, allow_head=False) for path in PATHS),
        *(web.options(path, preflight) for path in PATHS),
    ]


class SensorsDoor:
    """The handlers."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def event(self, request: web.Request, hold: Hold, arrival: Arrival) -> web.Response:
        """Store one event or a list; with ``Dry-Run: true`` only say what would become of them."""
        query = raw_query(request)
        cap_bytes = self._edge.settings.collect_max_body_bytes
        body, whole = await read_body(request, hold, cap_bytes=cap_bytes)
        self._edge.metrics.body_bytes.labels("sensors").inc(len(body) + len(query))
        records, account = self._read(request, body, query, arrival, whole=whole)
        wait_s = self._edge.keys.wait_s(account, len(records))
        if wait_s:
            what = "this key has used up its rate; send it again later"
            raise Refused(Refusal(503, "rate_limited", what, retry_after_s=wait_s))
        if request.headers.get("Dry-Run", "").lower() == "true":
            return await self._dry_run(request, records)
        await self._edge.store("sensors", records, hold)
        if request.method == "GET":
            return web.Response(body=_PIXEL, content_type="image/gif")
        return web.Response()

    def refuse(self, request: web.Request, why: Refusal) -> web.Response:
        """Answer 503 to those who keep what they sent, and drop the connection of the others."""
        if request.transport is not None and self._forgets(request):
            # A proxy in front has to pass this on (nginx: return 444), not make a 502 of it.
            request.transport.abort()
        status = why.status if why.status >= 500 else 503  # noqa: PLR2004 - a server's fault, in HTTP
        return self._edge.answer(request, Refusal(status, why.code, why.message, why.retry_after_s))

    def _read(
        self, request: web.Request, body: bytes, query: bytes, arrival: Arrival, *, whole: bool
    ) -> tuple[list[Record], Account | None]:
        keys, limits = self._edge.keys, self._edge.settings
        if not whole:
            cap_bytes = limits.collect_max_body_bytes
            why = Reject("collect", "body_too_large", f"only the first {cap_bytes} bytes are kept")
            account = sensors.find_account(query, b"", keys)
            return [sensors.whole(why, body, arrival, account)], account
        records, account = sensors.read(
            body, query, arrival, keys, cap_bytes=limits.collect_max_inflated_bytes
        )
        original = body or query
        if account and (
            problem := unsigned(account, request.headers, original, now_s=int(time.time()))
        ):
            why = Reject("collect", problem.code, problem.message)
            return [sensors.whole(why, original, arrival, account)], account
        return records, account

    async def _dry_run(self, request: web.Request, records: Sequence[Record]) -> web.Response:
        """Answer what ingest would make of the records; nothing is written."""
        try:
            validator = self._validator
        except ConfigInvalid as invalid:
            # A person reads this answer, so it goes to a mini-program, too.
            return self._edge.answer(request, Refusal(500, "plan_invalid", str(invalid)))
        rejected: list[dict[str, Any]] = []
        for number, record in enumerate(records):
            if number % _BREATHE_EVERY == _BREATHE_EVERY - 1:
                await asyncio.sleep(0)
            envelope = from_headers(record.headers)
            if record.reason or envelope is None:
                rejected.append({"item": number, "stage": "collect", "reason": record.reason})
                continue
            outcome = validator.event(RawRecord(envelope, record.value), -1, -1)
            if isinstance(outcome, Reject):
                fault = {"stage": outcome.stage, "reason": outcome.reason, "detail": outcome.detail}
                rejected.append({"item": number, **fault})
        valid = len(records) - len(rejected)
        return web.json_response({"valid": valid, "rejected": rejected})

    @cached_property
    def _validator(self) -> Validator:
        # Without a key nobody could be identified, but a dry run keeps nothing: any will do.
        key = self._edge.settings.pii_key.get_secret_value() or "dry run"
        return Validator(key.encode(), load_plan(self._edge.settings.plan))

    def _forgets(self, request: web.Request) -> bool:
        """Tell if the sender may be a mini-program; unless its key says other, it may."""
        account = sensors.find_account(raw_query(request), b"", self._edge.keys)
        return account is None or account.source == "mini_program"
