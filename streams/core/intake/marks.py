"""Marks of an item that say who made it: a crawler, a self-test, a redrive."""

import re
from functools import lru_cache
from typing import Any, Final

from schemas.events import Mark
from schemas.raw import Envelope

# Crawlers and headless browsers as they name themselves; WeChat's own page checker among them.
# "Cubot" is a maker of phones.
_BOTS: Final = re.compile(
    r"(?<!cu)bot\b|(?<!cu)bot[/;_-]|crawl|spider|slurp|headless|phantomjs|selenium|puppeteer"
    r"|playwright|lighthouse|facebookexternalhit|mediapartners|bingpreview|yandeximages"
    r"|wechat-?verify|curl/|wget/|python-requests|python-urllib|go-http-client|okhttp-probe",
    re.IGNORECASE,
)
_MAX_AGENT: Final = 512


def marks_of(envelope: Envelope, context: dict[str, Any], properties: dict[str, Any]) -> list[Mark]:
    """Return the marks of one item, from what its sender and its envelope say."""
    marks: list[Mark] = []
    # Sensors' web SDK sends the agent as a property.
    agent = context.get("userAgent") or properties.get("user_agent")
    if isinstance(agent, str) and is_bot(agent[:_MAX_AGENT]):
        marks.append("bot")
    if context.get("test") is True:
        marks.append("test")
    if envelope.redrive_of:
        marks.append("redriven")
    return marks


@lru_cache(maxsize=4096)
def is_bot(agent: str) -> bool:
    """Say whether a user agent names itself as a machine."""
    return _BOTS.search(agent) is not None
