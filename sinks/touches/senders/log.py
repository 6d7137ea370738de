"""The channel `log`: one line in deliver's log."""

import asyncio

import aiohttp
import structlog

from schemas.settings import Settings
from schemas.touches import Touch
from sinks.touches.channels import Answer


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


def open_sender(_settings: Settings, _session: aiohttp.ClientSession) -> LogChannel:
    """Return the channel; it needs nothing."""
    return LogChannel()
