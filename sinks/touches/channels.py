"""Channels: each takes a touch to a provider and answers what became of it, never by exception.

Which channels there are stands in ``schemas.channels``; a row's ``sender`` names the module
of ``sinks.touches.senders`` whose ``open_sender`` makes the channel.
"""

import asyncio
import importlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal, Protocol

import aiohttp
import msgspec

from schemas.channels import CHANNELS, missing_settings
from schemas.settings import Settings
from schemas.touches import Touch

# 409: the provider is still busy with the same key (the Idempotency-Key draft's meaning).
RETRIED: Final = frozenset({408, 409, 425, 429})
# A gateway spoke, not the provider: the touch may have reached it.
GATEWAY: Final = frozenset({502, 504})
MAX_WAIT_S: Final = 60.0


class Answer(msgspec.Struct, frozen=True):
    """What became of a touch on one channel.

    failed: it did not go out, the next channel may try; unknown: it may have gone
    out; interrupted: this process is stopping, the successor resolves it.
    """

    status: Literal["sent", "failed", "unknown", "interrupted"]
    attempts: int
    code: str = ""
    detail: str = ""


class Channel(Protocol):
    """A way to a user; ``idempotent``: the provider collapses calls with the same key."""

    idempotent: bool

    async def send(self, touch: Touch, stopping: asyncio.Event) -> Answer:
        """Call the provider until it answers for good or the attempts are used up."""


class Attempt(msgspec.Struct, frozen=True):
    """One call's end: ``final``, or to be tried again after ``wait_s`` at the earliest.

    ``maybe_sent``: no answer tells that the touch did not go out.
    """

    status: Literal["sent", "failed", "retry"]
    code: str
    detail: str = ""
    wait_s: float = 0.0
    maybe_sent: bool = False


def judge(status: int, retry_after: str | None, detail: str, now: datetime) -> Attempt:
    """Return what an HTTP answer means for the touch."""
    code = f"http_{status}"
    if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110's class of success
        return Attempt("sent", code, detail)
    if status >= 500 or status in RETRIED:  # noqa: PLR2004 - RFC 9110's class of server errors
        wait_s = min(MAX_WAIT_S, retry_after_s(retry_after, now))
        return Attempt("retry", code, detail, wait_s, maybe_sent=status in GATEWAY)
    return Attempt("failed", code, detail)


def retry_after_s(value: str | None, now: datetime) -> float:
    """Return the seconds of a ``Retry-After``, given as seconds or as a date; 0 if unreadable."""
    if not value:
        return 0.0
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    # "-0000" parses to a naive time; HTTP dates are in UTC by definition.
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


class OpenSender(Protocol):
    """What a module of ``sinks.touches.senders`` has under the name ``open_sender``."""

    def __call__(self, settings: Settings, session: aiohttp.ClientSession, /) -> Channel:
        """Return the channel; called once its settings are there, raises ``ConfigInvalid``."""


def open_channels(
    settings: Settings, session: aiohttp.ClientSession
) -> Mapping[str, Channel | None]:
    """Return channel name -> channel, ``None`` where its settings are missing.

    Channels that no sender serves are left out.
    """
    return {
        name: None
        if missing_settings(name, settings)
        else sender_of(facts.sender)(settings, session)
        for name, facts in CHANNELS.items()
        if facts.sender
    }


def sender_of(name: str) -> OpenSender:
    """Return what opens the sender of a module of ``sinks.touches.senders``."""
    # By name, so that a channel is a row and a module: the rows are below this package.
    opens: OpenSender = importlib.import_module(f"sinks.touches.senders.{name}").open_sender
    return opens
