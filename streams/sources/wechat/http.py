"""The callbacks of WeChat's official accounts and of WeCom: stored first, then answered in time."""

import asyncio
import time
from typing import Final

import structlog
from aiohttp import web

from schemas.sources import WeChatAccount, WeComAccount
from streams.sources.budget import Hold, read_body
from streams.sources.edge import Edge, Refused, unless_refused
from streams.sources.records import Arrival, Refusal
from streams.sources.wechat import official_account, replies, wecom
from streams.sources.wechat.crypto import MAX_BODY_BYTES
from streams.sources.wechat.official_account import Pushed
from streams.sources.wechat.replies import Replier

# WeChat gives up after 5 s and pushes again.
TIMEOUT_S: Final = 4.5
# What is left for the way of a reply after its replier had its time.
_RESERVE_S: Final = 0.3
log = structlog.get_logger(__name__)


def routes(edge: Edge, replier: Replier) -> list[web.RouteDef]:
    """Return the table of the paths."""
    account, company = AccountDoor(edge, replier), CompanyDoor(edge)
    handlers = (
        ("/wechat/{appid}", edge.door("wechat", account.check), web.get),
        ("/wechat/{appid}", edge.door("wechat", account.push, timeout_s=TIMEOUT_S), web.post),
        ("/wecom/{corpid}", edge.door("wecom", company.check), web.get),
        ("/wecom/{corpid}", edge.door("wecom", company.push, timeout_s=TIMEOUT_S), web.post),
    )
    return [
        method(path, handler, allow_head=False) if method is web.get else method(path, handler)
        for path, handler, method in handlers
    ]


class AccountDoor:
    """The handlers of official accounts, any number of them by their appid."""

    def __init__(self, edge: Edge, replier: Replier) -> None:
        self._edge, self._replier = edge, replier

    async def check(self, request: web.Request, _: Hold, __: Arrival) -> web.Response:
        """Answer WeChat's check of the URL."""
        echo = unless_refused(official_account.verify_url(self._account(request), request.query))
        return web.Response(text=echo)

    async def push(self, request: web.Request, hold: Hold, arrival: Arrival) -> web.Response:
        """Store a message; then, in what is left of the time, reply to it."""
        until_s = time.monotonic() + TIMEOUT_S - _RESERVE_S
        appid, account = request.match_info["appid"], self._account(request)
        # One byte over the bound, so that the door sees that there was more.
        body, _ = await read_body(request, hold, cap_bytes=MAX_BODY_BYTES + 1)
        self._edge.metrics.body_bytes.labels("wechat").inc(len(body))
        pushed = unless_refused(official_account.read(appid, account, request.query, body, arrival))
        await self._edge.store("wechat", [pushed.record], hold)
        said = await self._said(appid, pushed, until_s)
        if not said:
            return web.Response(text=replies.NOTHING)
        text, media = replies.write(appid, account, pushed, said, now_s=int(time.time()))
        return web.Response(text=text, content_type=media)

    async def _said(self, appid: str, pushed: Pushed, until_s: float) -> str | None:
        """Return the reply; a replier that is late or fails costs only the reply."""
        if pushed.fields is None:
            return None
        try:
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                return await self._replier(appid, pushed.fields)
        except TimeoutError:
            log.warning("no passive reply in time", appid=appid)
        except Exception:
            log.exception("the replier failed", appid=appid)
        return None

    def _account(self, request: web.Request) -> WeChatAccount:
        account = self._edge.sources.wechat.get(request.match_info["appid"])
        if account is None:
            raise Refused(Refusal(404, "unknown_appid", "no account with this appid"))
        return account


class CompanyDoor:
    """The handlers of WeCom."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def check(self, request: web.Request, _: Hold, __: Arrival) -> web.Response:
        """Answer WeCom's check of the URL."""
        corpid, account = request.match_info["corpid"], self._account(request)
        echo = unless_refused(wecom.verify_url(corpid, account, request.query))
        return web.Response(body=echo, content_type="text/plain")

    async def push(self, request: web.Request, hold: Hold, arrival: Arrival) -> web.Response:
        """Store a callback."""
        corpid, account = request.match_info["corpid"], self._account(request)
        body, _ = await read_body(request, hold, cap_bytes=MAX_BODY_BYTES + 1)
        self._edge.metrics.body_bytes.labels("wecom").inc(len(body))
        record = unless_refused(wecom.read(corpid, account, request.query, body, arrival))
        await self._edge.store("wecom", [record], hold)
        return web.Response(text=replies.NOTHING)

    def _account(self, request: web.Request) -> WeComAccount:
        account = self._edge.sources.wecom.get(request.match_info["corpid"])
        if account is None:
            raise Refused(Refusal(404, "unknown_corpid", "no company with this corpid"))
        return account
