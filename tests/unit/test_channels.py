import asyncio
import pkgutil
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import aiohttp
import pytest

from schemas.channels import CHANNELS
from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from sinks.touches import senders
from sinks.touches.channels import MAX_WAIT_S, judge, open_channels, retry_after_s, sender_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_success_is_sent(status: int) -> None:
    assert judge(status, None, "", NOW).status == "sent"


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 410, 422])
def test_a_refusal_or_a_redirect_is_for_good(status: int) -> None:
    attempt = judge(status, "5", "gone", NOW)
    assert (attempt.status, attempt.code, attempt.detail) == ("failed", f"http_{status}", "gone")


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503, 599])
def test_trouble_is_tried_again_and_was_not_sent(status: int) -> None:
    attempt = judge(status, None, "", NOW)
    assert (attempt.status, attempt.maybe_sent) == ("retry", False)


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_leaves_it_open_whether_it_was_sent(status: int) -> None:
    attempt = judge(status, None, "", NOW)
    assert (attempt.status, attempt.maybe_sent) == ("retry", True)


def test_retry_after_is_honoured_up_to_a_limit() -> None:
    assert judge(429, "7", "", NOW).wait_s == 7
    assert judge(503, "86400", "", NOW).wait_s == MAX_WAIT_S


def test_retry_after_may_be_a_date_in_any_zone() -> None:
    later = NOW + timedelta(seconds=90)
    shanghai = later.astimezone(timezone(timedelta(hours=8)))
    assert retry_after_s(format_datetime(later, usegmt=True), NOW) == 90
    assert retry_after_s(format_datetime(shanghai), NOW) == 90
    assert retry_after_s("Sun, 01 Mar 2026 12:01:30 -0000", NOW) == 90
    assert retry_after_s(format_datetime(NOW - timedelta(days=1)), NOW) == 0


@pytest.mark.parametrize("value", [None, "", "soon", "-5", "1.5", "٣", "9" * 400, "\x00"])
def test_an_unreadable_retry_after_never_breaks_the_answer(value: str | None) -> None:
    assert 0 <= judge(429, value, "", NOW).wait_s <= MAX_WAIT_S


@pytest.mark.parametrize("url", ["ftp://host/", "host/path", "http://", "http://h:99999/"])
def test_an_address_that_cannot_be_called_is_told_at_the_start(url: str) -> None:
    with pytest.raises(ConfigInvalid, match="SIYU_WEBHOOK_URL"):
        asyncio.run(_open(url))


def test_a_channel_without_its_setting_is_known_but_closed() -> None:
    opened = asyncio.run(_open(None))
    assert (opened["webhook"], opened["log"]) == (False, True)


def test_deliver_knows_the_channels_of_the_registry_that_have_a_sender() -> None:
    served = {name for name, facts in CHANNELS.items() if facts.sender}
    assert asyncio.run(_open("http://127.0.0.1:9/touches")).keys() == served


def test_each_sender_that_the_registry_names_is_there_and_no_other() -> None:
    named = {facts.sender for facts in CHANNELS.values() if facts.sender}
    assert named == {module.name for module in pkgutil.iter_modules(senders.__path__)}
    for name in named:
        assert callable(sender_of(name)), name


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_a_channel_needs_is_a_setting(channel: str) -> None:
    facts = CHANNELS[channel]
    assert set(facts.needs) <= Settings.model_fields.keys()
    assert facts.sender or not facts.needs, "what needs settings has a sender"


async def _open(url: str | None) -> dict[str, bool]:
    async with aiohttp.ClientSession() as session:
        channels = open_channels(Settings(webhook_url=url), session)
    return {name: channel is not None for name, channel in channels.items()}
