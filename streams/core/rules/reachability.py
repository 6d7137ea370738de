"""Reachability (可触达): on which channels a message may go out to a user now.

WeChat and WeCom let a shop write only for a while after an act of the user, and only so many
messages (会话窗口). The state keeps the window that ends last; each message uses up one of it,
and a subscription message one consent. Followers' channels are closed to who unfollowed.
"""

from collections.abc import Iterable, Iterator, Mapping

from schemas.channels import CHANNELS, ChannelFacts, Opening, needs_consent
from streams.core.rules.consents import FOLLOWING, consents, refused, spend
from streams.core.rules.evaluation import FACTS_FIRST, Context
from streams.core.state.user import State

_FREE = ChannelFacts()


def is_open(state: State, channel: str, at_ms: int) -> bool:
    """Say whether a channel's window stands open at a time, and its account is followed."""
    facts = CHANNELS.get(channel, _FREE)
    if facts.followers and refused(state, FOLLOWING):
        return False
    if not facts.opens:
        return True
    until_ms, messages = state.windows.get(channel, (0, 0))
    return messages > 0 and at_ms <= until_ms


def agreed(state: State, channel: str, ids: Mapping[str, str]) -> bool:
    """Say whether a template, of these ids by channel, has the consent that a channel needs."""
    return not needs_consent(channel) or consents(state, ids.get(channel, "")) > 0


def use(state: State, channel: str, ids: Mapping[str, str]) -> None:
    """Count a message of a template, of these ids by channel, that went out over a channel."""
    window = state.windows.get(channel)
    if window is not None:
        state.windows[channel] = (window[0], window[1] - 1)
    if needs_consent(channel):
        spend(state, ids.get(channel, ""))


def openings(channels: Iterable[str]) -> "Iterator[tuple[str, OnOpening]]":
    """Yield the triggers that keep the windows of channels, by the names of their events."""
    for channel in dict.fromkeys(channels):
        for opening in CHANNELS.get(channel, _FREE).opens:
            yield opening.event, OnOpening(channel, opening)


class OnOpening:
    """Opens a channel when the user acts."""

    where = None
    priority = FACTS_FIRST

    def __init__(self, channel: str, opening: Opening) -> None:
        self._channel, self._opening = channel, opening

    def __call__(self, context: Context) -> None:
        """Take an event: a brief window does not end a longer one that still has room."""
        opening, windows = self._opening, context.state.windows
        if opening.source is not None and context.event.source != opening.source:
            return
        until_ms, messages = windows.get(self._channel, (0, 0))
        ends_ms = context.at_ms + opening.for_ms
        if ends_ms >= until_ms or messages <= 0:
            windows[self._channel] = (ends_ms, opening.messages)
