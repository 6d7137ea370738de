"""Channels (触达渠道): the one registry of what exists, what platforms allow, and who sends.

Lint and the engine read the platforms' rules here, lint and deliver who sends. Source of
WeChat's rules: its documents of customer-service, template and subscription messages, and
WeCom's of welcome messages. A channel that is not listed is unknown.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schemas.sources import Source

if TYPE_CHECKING:
    from schemas.settings import Settings  # the core reads this module, and no environment

_MINUTE_MS: Final = 60_000
_TWO_DAYS_MS: Final = 48 * 60 * _MINUTE_MS


@dataclass(frozen=True, slots=True)
class Opening:
    """An act of the user that opens a channel: for how long, and for how many messages."""

    event: str
    source: Source | None
    for_ms: int
    messages: int


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """``opens``: the acts after which alone a message may go out; none: it always may.

    ``marketing``: whether advertising is allowed; ``consent``: each message uses up one
    that the user gave to its template; ``followers``: closed to those who unfollowed.
    ``sender``: the module of ``sinks.touches.senders`` that serves it; empty: none does yet.
    ``needs``: the fields of ``Settings`` without which it cannot send.
    """

    opens: tuple[Opening, ...] = ()
    marketing: bool = True
    consent: bool = False
    followers: bool = False
    sender: str = ""
    needs: tuple[str, ...] = ()


CHANNELS: Final = {
    "webhook": ChannelFacts(sender="webhook", needs=("webhook_url",)),
    "log": ChannelFacts(sender="log"),
    "app.push": ChannelFacts(),
    "sms": ChannelFacts(),
    "email": ChannelFacts(),
    # 被动回复: the answer to the callback itself, inside 5 s.
    "official.reply": ChannelFacts(
        (
            Opening("message_received", "official_account", 5000, 1),
            Opening("official_account_followed", "official_account", 5000, 1),
            Opening("official_account_menu_clicked", "official_account", 5000, 1),
            Opening("official_account_qr_scanned", "official_account", 5000, 1),
        ),
        followers=True,
    ),
    # 客服消息: five after a message, three within a minute of a click, a follow or a scan. After a
    # payment WeChat names the 48 hours and no number: five is the careful reading.
    "official.service": ChannelFacts(
        (
            Opening("message_received", "official_account", _TWO_DAYS_MS, 5),
            Opening("order_paid", None, _TWO_DAYS_MS, 5),
            Opening("official_account_followed", "official_account", _MINUTE_MS, 3),
            Opening("official_account_qr_scanned", "official_account", _MINUTE_MS, 3),
            Opening("official_account_menu_clicked", "official_account", _MINUTE_MS, 3),
        ),
        followers=True,
    ),
    "mini.service": ChannelFacts((Opening("message_received", "mini_program", _TWO_DAYS_MS, 5),)),
    # 模板消息: marketing is forbidden.
    "official.template": ChannelFacts(marketing=False, followers=True),
    # 一次性订阅消息, 订阅通知: one consent, one message; the latter goes to strangers, too.
    "mini.subscribe": ChannelFacts(consent=True),
    "official.subscribe": ChannelFacts(consent=True),
    # 欢迎语: the code that comes with a new contact is good for 20 s, once.
    "wecom.welcome": ChannelFacts((Opening("wecom_contact_added", "wecom", 20_000, 1),)),
}


def needs_consent(channel: str) -> bool:
    """Say whether each message over a channel uses up a consent."""
    return CHANNELS.get(channel, ChannelFacts()).consent


def missing_settings(channel: str, settings: "Settings") -> list[str]:
    """Return the variables that a known channel needs and that are not set, as people set them."""
    needs = CHANNELS[channel].needs
    return [f"SIYU_{name.upper()}" for name in needs if not getattr(settings, name)]


def window_ms(channel: str, events: list[str]) -> int | None:
    """Return how long a channel is open after one of these events, at the longest.

    ``None`` for ever; where none of them opens it, an earlier one may have: the longest of all.
    """
    facts = CHANNELS.get(channel, ChannelFacts())
    if not facts.opens:
        return None
    own = [opening.for_ms for opening in facts.opens if opening.event in events]
    return max(own or [opening.for_ms for opening in facts.opens])
