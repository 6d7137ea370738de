"""The paths of Segment's and RudderStack's SDKs, servers' and browsers' alike."""

import time

from aiohttp import web

from streams.sources.budget import Hold, read_body
from streams.sources.edge import Edge, Refused, preflight, unless_refused
from streams.sources.keys import Account, unsigned
from streams.sources.records import Arrival, Refusal
from streams.sources.segment import read as segment


def routes(edge: Edge) -> list[web.RouteDef]:
    """Return the table of the paths."""
    door = SegmentDoor(edge)
    call = edge.door("segment", door.call)
    settings = edge.door("segment", door.settings)
    config = edge.door("segment", door.source_config)
    reads = {
        "/v1/projects/{key}/settings": settings,
        "/sourceConfig": config,
        "/sourceConfig/": config,
    }
    return [
        *(web.post(path, call) for path in segment.PATHS),
        *(web.get(path, handler, allow_head=False) for path, handler in reads.items()),
        *(web.options(path, preflight) for path in (*segment.PATHS, *reads)),
    ]


class SegmentDoor:
    """The handlers; each answers exactly 200 (Segment's Python SDK takes 204 for an error)."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def call(self, request: web.Request, hold: Hold, arrival: Arrival) -> web.Response:
        """Store a call or a batch."""
        limits = self._edge.settings
        body = await self._body(request, hold, cap_bytes=limits.collect_max_body_bytes)
        encoding = request.headers.get("Content-Encoding", "").lower()
        plain = unless_refused(
            segment.plain_body(body, encoding, cap_bytes=limits.collect_max_inflated_bytes)
        )
        hold.take(len(plain))
        opened = unless_refused(segment.open_body(plain, _sender(request), self._edge.keys))
        account = opened.account
        if why := unsigned(account, request.headers, body, now_s=int(time.time())):
            raise Refused(why)
        call = segment.call_of(request.path)
        if call == "batch":
            records = unless_refused(segment.read_batch(opened, arrival))
        else:
            records = segment.read_call(call, opened, arrival)
        self._throttle(account, len(records))
        await self._edge.store("segment", records, hold)
        return web.Response(body=b'{"success":true}', content_type="application/json")

    async def settings(self, request: web.Request, _: Hold, __: Arrival) -> web.Response:
        """Answer analytics.js, which asks the CDN for its settings first."""
        key = request.match_info["key"]
        if self._edge.keys.find(key) is None:
            raise Refused(Refusal(404, "unknown_key", "no write key of this name"))
        return web.json_response(segment.analytics_settings(key))

    async def source_config(self, request: web.Request, _: Hold, __: Arrival) -> web.Response:
        """Answer RudderStack's JS SDK, which asks its control plane for its source first."""
        basic = segment.basic_user(request.headers.get("Authorization", ""))
        for key in (basic, request.query.get("writeKey")):
            account = self._edge.keys.find(key)
            if key and account is not None:
                return web.json_response(segment.source_config(key, account))
        raise Refused(Refusal(401, "unknown_key", "no known write key in Basic authorization"))

    async def _body(self, request: web.Request, hold: Hold, *, cap_bytes: int) -> bytes:
        body, whole = b"", (request.content_length or 0) <= cap_bytes
        if whole:
            body, whole = await read_body(request, hold, cap_bytes=cap_bytes)
        self._edge.metrics.body_bytes.labels("segment").inc(len(body))
        if not whole:
            what = f"the body is over {cap_bytes} bytes; send smaller batches"
            raise Refused(Refusal(413, "body_too_large", what))
        return body

    def _throttle(self, account: Account, events: int) -> None:
        wait_s = self._edge.keys.wait_s(account, events)
        if wait_s:
            what = "this key has used up its rate; send it again later"
            raise Refused(Refusal(429, "rate_limited", what, retry_after_s=wait_s))


def _sender(request: web.Request) -> segment.Sender:
    headers = request.headers
    return segment.Sender(
        authorization=headers.get("Authorization", ""),
        write_key=request.query.get("writeKey", "") if request.query_string else "",
        anonymous_id=segment.unbase64(headers.get("AnonymousId", "")),
        sent_at=headers.get("SentAt", ""),
    )
