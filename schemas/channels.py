"""Channels (触达渠道): what the platforms allow on each, the one table of these facts.

Source of WeChat's rules: its documents of customer-service, template and subscription
messages, and WeCom's of welcome messages. A channel that is not listed has no rules here.
"""

from dataclasses import dataclass
from typing import Final

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """``window_ms``: how long after an act of the user a message may go out, at the longest.

    ``opens`` are events that open it for another time; ``marketing``: whether advertising
    is allowed; ``consent``: each message uses up one that the user gave.
    """

    window_ms: int | None = None
    opens: tuple[tuple[str, int], ...] = ()
    marketing: bool = True
    consent: bool = False


# A message of the user or a payment opens 48 hours, a click, a follow or a scan one minute.
_BRIEF: Final = (
    ("official_account_followed", _MINUTE_MS),
    ("official_account_qr_scanned", _MINUTE_MS),
    ("official_account_menu_clicked", _MINUTE_MS),
)
CHANNELS: Final = {
    "webhook": ChannelFacts(),
    "log": ChannelFacts(),
    "app.push": ChannelFacts(),
    "sms": ChannelFacts(),
    "email": ChannelFacts(),
    # 被动回复: the answer to the callback itself, inside 5 s.
    "official.reply": ChannelFacts(window_ms=5000),
    # 客服消息
    "official.service": ChannelFacts(window_ms=48 * _HOUR_MS, opens=_BRIEF),
    "mini.service": ChannelFacts(window_ms=48 * _HOUR_MS),
    # 模板消息: marketing is forbidden.
    "official.template": ChannelFacts(marketing=False),
    # 一次性订阅消息: one consent, one message.
    "mini.subscribe": ChannelFacts(consent=True),
    # 欢迎语: the code that comes with a new contact is good for 20 s, once.
    "wecom.welcome": ChannelFacts(window_ms=20_000),
}


def window_ms(channel: str, events: list[str]) -> int | None:
    """Return how long a channel is open after one of these events; ``None`` for ever."""
    facts = CHANNELS.get(channel, ChannelFacts())
    if facts.window_ms is None:
        return None
    opens = dict(facts.opens)
    return max((opens.get(event, facts.window_ms) for event in events), default=facts.window_ms)
