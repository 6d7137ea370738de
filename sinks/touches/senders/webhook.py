"""The channel `webhook`: a signed POST to an address of the shop's own."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from secrets import SystemRandom
from typing import Final, Literal

import aiohttp
import structlog
from yarl import URL

from schemas import signing, touches
from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from schemas.touches import Touch
from sinks.touches.channels import MAX_WAIT_S, Answer, Attempt, judge

_DETAIL_BYTES: Final = 300
_jitter = SystemRandom().uniform


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


def open_sender(settings: Settings, session: aiohttp.ClientSession) -> WebhookChannel:
    """Return the channel; raises ``ConfigInvalid`` for an address that cannot be called."""
    if not settings.webhook_secret.get_secret_value():
        structlog.get_logger("siyu.deliver").warning(
            "webhook calls are not signed", remedy="set SIYU_WEBHOOK_SECRET"
        )
    return WebhookChannel(settings, session, _address(settings.webhook_url or ""))


def _address(text: str) -> URL:
    hint = "give one like https://host/path"
    try:
        url = URL(text)
    except ValueError as error:
        raise ConfigInvalid("SIYU_WEBHOOK_URL", str(error), hint=hint) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigInvalid("SIYU_WEBHOOK_URL", "not an http(s) address", hint=hint)
    return url
