"""Channels: each takes a touch to a provider and answers what became of it, never by exception."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from secrets import SystemRandom
from typing import Final, Literal, Protocol

import aiohttp
import msgspec
import structlog
from yarl import URL

from schemas import signing, touches
from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from schemas.touches import Touch

# 409: the provider is still busy with the same key (the Idempotency-Key draft's meaning).
RETRIED: Final = frozenset({408, 409, 425, 429})
# A gateway spoke, not the provider: the touch may have reached it.
GATEWAY: Final = frozenset({502, 504})
MAX_WAIT_S: Final = 60.0
_DETAIL_BYTES: Final = 300
_jitter = SystemRandom().uniform


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


class LogChannel:
    """Writes the touch to the log: for trying rules out, and for a fallback that is seen."""

    idempotent = False

    async def send(self, touch: Touch, stopping: asyncio.Event) -> Answer:  # noqa: ARG002 - the protocol's
        """Write one line; it cannot fail, and is too short to interrupt."""
        structlog.get_logger("siyu.touch").info(
            "touch",
            touch_id=touch.touch_id,
            rule=touch.rule,
            user=touch.user,
            template=touch.template,
            variant=touch.variant,
        )
        return Answer("sent", attempts=1, code="logged")


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


class WebhookChannel:
    """Posts the touch as JSON, signed, with the touch id as the idempotency key."""

    idempotent = True

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, url: URL) -> None:
        self._url, self._session = url, session
        self._secret = settings.webhook_secret.get_secret_value().encode()
        self._max_attempts = settings.deliver_max_attempts
        self._backoff_s = settings.deliver_backoff_s
        self._gate = asyncio.Semaphore(settings.deliver_concurrency)

    async def send(self, touch: Touch, stopping: asyncio.Event) -> Answer:
        """Call with growing pauses; unknown where a call may have arrived and none was answered."""
        body = touches.encode(touch)
        maybe_sent = False
        attempts = 0
        while True:
            async with self._gate:
                if stopping.is_set():
                    return Answer("interrupted", attempts)
                attempts += 1
                attempt = await self._call(touch, body)
            if attempt.status != "retry":
                return Answer(attempt.status, attempts, attempt.code, attempt.detail)
            maybe_sent = maybe_sent or attempt.maybe_sent
            if attempts >= self._max_attempts:
                status: Literal["unknown", "failed"] = "unknown" if maybe_sent else "failed"
                return Answer(status, attempts, attempt.code, attempt.detail)
            # The pause is outside the gate: a touch that waits holds up no other.
            pause_s = min(MAX_WAIT_S, self._backoff_s * 2 ** (attempts - 1)) * _jitter(0.5, 1.0)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), max(pause_s, attempt.wait_s))

    async def _call(self, touch: Touch, body: bytes) -> Attempt:
        try:
            async with self._session.post(
                self._url,
                data=body,
                headers=self._headers(touch, body),
                allow_redirects=False,  # a signed body goes to nobody else
            ) as response:
                text = await response.content.read(_DETAIL_BYTES)
                return judge(
                    response.status,
                    response.headers.get("Retry-After"),
                    text.decode("utf-8", "replace"),
                    datetime.now(UTC),
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Attempt("retry", "unreachable", _why(error))
        except TimeoutError:
            return Attempt("retry", "timeout", "no answer in time", maybe_sent=True)
        except aiohttp.ClientError as error:
            return Attempt("retry", "broken_off", _why(error), maybe_sent=True)

    def _headers(self, touch: Touch, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", signing.KEY_HEADER: touch.touch_id}
        if self._secret:
            timestamp_s = int(time.time())
            headers[signing.TIMESTAMP_HEADER] = str(timestamp_s)
            headers[signing.SIGNATURE_HEADER] = signing.sign(self._secret, timestamp_s, body)
        return headers


def _why(error: Exception) -> str:
    # An OSError's own text names the address; a URL with credentials must not reach a receipt.
    return getattr(error, "strerror", None) or type(error).__name__


def open_channels(
    settings: Settings, session: aiohttp.ClientSession
) -> Mapping[str, Channel | None]:
    """Return channel name -> channel, ``None`` for one that is known but not configured."""
    webhook: WebhookChannel | None = None
    if settings.webhook_url:
        if not settings.webhook_secret.get_secret_value():
            structlog.get_logger("siyu.deliver").warning(
                "webhook calls are not signed", remedy="set SIYU_WEBHOOK_SECRET"
            )
        webhook = WebhookChannel(settings, session, _address(settings.webhook_url))
    return {"webhook": webhook, "log": LogChannel()}


def _address(text: str) -> URL:
    hint = "give one like https://host/path"
    try:
        url = URL(text)
    except ValueError as error:
        raise ConfigInvalid("SIYU_WEBHOOK_URL", str(error), hint=hint) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigInvalid("SIYU_WEBHOOK_URL", "not an http(s) address", hint=hint)
    return url
