"""Passive replies (被动回复): what the callback of an official account itself answers.

A replier is any async function of appid and the message's fields; the one that the
collector takes by default reads the ``replies`` of the sources file.
"""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from schemas.sources import Reply, Sources, WeChatAccount
from streams.sources.wechat.crypto import encrypt, signature
from streams.sources.wechat.official_account import Pushed

Replier = Callable[[str, Mapping[str, str]], Awaitable[str | None]]
# Also a valid answer, for "nothing to say".
NOTHING: Final = "success"
_NUMBERS: Final = ("CreateTime", "TimeStamp")


def from_sources(sources: Sources) -> Replier:
    """Return the replier of the sources file: the first entry that fits, or nothing."""

    async def reply(appid: str, fields: Mapping[str, str]) -> str | None:
        entries = sources.wechat[appid].replies
        return next((entry.text for entry in entries if _answers(entry, fields)), None)

    return reply


def write(
    appid: str, account: WeChatAccount, pushed: Pushed, said: str, *, now_s: int
) -> tuple[str, str]:
    """Return (body, media type) of a reply, in the form and under the seal of its message."""
    fields = pushed.fields or {}
    reply = {
        "ToUserName": fields.get("FromUserName", ""),
        "FromUserName": fields.get("ToUserName", ""),
        "CreateTime": str(now_s),
        "MsgType": "text",
        "Content": said,
    }
    if pushed.key is not None:
        plain = _form(reply, is_json=pushed.is_json).encode()
        sealed, nonce = encrypt(pushed.key, appid, plain), secrets.token_hex(8)
        parts = (account.token.get_secret_value(), str(now_s), nonce, sealed)
        reply = {
            "Encrypt": sealed,
            "MsgSignature": signature(parts),
            "TimeStamp": str(now_s),
            "Nonce": nonce,
        }
    return _form(reply, is_json=pushed.is_json), (
        "application/json" if pushed.is_json else "text/xml"
    )


def _answers(entry: Reply, fields: Mapping[str, str]) -> bool:
    if entry.event:
        return fields.get("MsgType") == "event" and fields.get("Event") == entry.event
    said = fields.get("Content", "").strip().casefold()
    keyword = (entry.keyword or "").casefold()
    if fields.get("MsgType") != "text":
        return False
    return keyword in said if entry.match == "contains" else keyword == said


def _form(reply: Mapping[str, str], *, is_json: bool) -> str:
    if is_json:
        numbers = {name: int(reply[name]) for name in _NUMBERS if name in reply}
        return json.dumps({**reply, **numbers}, ensure_ascii=False)
    parts = [f"<{name}>{_cdata(value, name)}</{name}>" for name, value in reply.items()]
    return f"<xml>{''.join(parts)}</xml>"


def _cdata(value: str, name: str) -> str:
    """Return a value as WeChat's documents write it, unable to end its CDATA section."""
    if name in _NUMBERS:
        return value
    return f"<![CDATA[{value.replace(']]>', ']]]]><![CDATA[>')}]]>"
