"""Consents and refusals of a user (授权与退订), by event time: order of arrival does not matter.

- A consent to a subscription message (订阅消息) allows one send; consents add up by the
  platform's template id. A refusal revokes all consents before it.
- Of the answers to marketing, on one channel or on all, and to following the official account
  (关注) the latest counts; of a yes and a no in one millisecond, the no.
"""

from bisect import insort
from collections.abc import Iterator, Mapping
from typing import Any, Final

from schemas.tags import TOUCH_FAILED
from streams.core.rules.evaluation import FACTS_FIRST, Context
from streams.core.state.recent_times import MAX_KEYS
from streams.core.state.user import DAY_MS, Consent, State

# What the latest answers are about, beside the names of channels.
ALL_CHANNELS: Final = "*"
FOLLOWING: Final = "official_account"

_ANSWERS: Final = (
    ("marketing_refused", "", False),
    ("marketing_allowed", "", True),
    ("official_account_followed", FOLLOWING, True),
    ("official_account_unfollowed", FOLLOWING, False),
)
_SUBSCRIPTIONS: Final = (
    "subscription_prompted",
    "subscription_changed",
    "subscription_message_reported",
)
# What wx.requestSubscribeMessage and its callback answer; `filter` says nothing of the user.
_YES: Final = frozenset({"accept", "acceptWithAudio", "acceptWithAlert"})
_NO: Final = frozenset({"reject", "ban"})
# "user refuse to accept the msg": refused, or used up (WeChat's answer to a send).
_USED_UP: Final = "43101"


def consents(state: State, template_id: str) -> int:
    """Return how many subscription messages of a template may be sent."""
    consent = state.consents.get(template_id)
    return len(consent.times) if consent is not None else 0


def spend(state: State, template_id: str) -> None:
    """Count a subscription message that goes out."""
    consent = state.consents.get(template_id)
    if consent is not None and consent.times:
        del consent.times[0]


def refused(state: State, what: str) -> bool:
    """Say whether the latest answer about a channel, all of them or following is a no."""
    answer = state.answers.get(what)
    return answer is not None and not answer[1]


def consent_triggers(
    templates: Mapping[str, Mapping[str, str]],
) -> "Iterator[tuple[str, OnAnswer | OnSubscription | OnFailed]]":
    """Yield the triggers that keep consents, by event name.

    ``templates`` maps a template and a channel to the platform's id of the template.
    """
    for event, what, yes in _ANSWERS:
        yield event, OnAnswer(what, yes=yes)
    for event in _SUBSCRIPTIONS:
        yield event, OnSubscription(gives=event == "subscription_prompted")
    if templates:
        yield TOUCH_FAILED, OnFailed(templates)


class OnAnswer:
    """Keeps a yes or no to ``what``; if it is empty, to ``properties.channel`` or all channels."""

    where = None
    priority = FACTS_FIRST

    def __init__(self, what: str, *, yes: bool) -> None:
        self._what, self._yes = what, yes

    def __call__(self, context: Context) -> None:
        """Take an event."""
        state, event, at_ms = context.state, context.event, context.at_ms
        what = self._what or event.properties.get("channel") or ALL_CHANNELS
        if not isinstance(what, str):
            return
        before = state.answers.get(what)
        if before is None and len(state.answers) >= MAX_KEYS:
            _forget_oldest(state)
        if before is None or at_ms > before[0] or (at_ms == before[0] and not self._yes):
            state.answers[what] = (at_ms, self._yes)


class OnSubscription:
    """Takes the answers of a prompt, a change in the settings, or WeChat's report of a send."""

    where = None
    priority = FACTS_FIRST

    def __init__(self, *, gives: bool) -> None:
        self._gives = gives

    def __call__(self, context: Context) -> None:
        """Take an event; entries that are none are passed over."""
        state, event, at_ms = context.state, context.event, context.at_ms
        templates = event.properties.get("templates")
        for entry in templates if isinstance(templates, list) else ():
            template_id = entry.get("template_id") if isinstance(entry, dict) else None
            if not isinstance(template_id, str) or not template_id:
                continue
            if _is_no(entry):
                _refuse(state, template_id, at_ms)
            elif self._gives and entry.get("answer") in _YES:
                _give(state, template_id, at_ms)


class OnFailed:
    """Returns a consent if no channel took its touch; revokes all if WeChat has none left."""

    where = None
    priority = FACTS_FIRST

    def __init__(self, templates: Mapping[str, Mapping[str, str]]) -> None:
        self._templates = templates

    def __call__(self, context: Context) -> None:
        """Take an event; ``properties`` name ``channel``, ``template`` and the ``code``."""
        state, at_ms, properties = context.state, context.at_ms, context.event.properties
        ids = self._templates.get(str(properties.get("template")), {})
        template_id = ids.get(str(properties.get("channel")))
        if template_id is None:
            return
        consent = state.consents.get(template_id)
        if str(properties.get("code")) == _USED_UP:
            _refuse(state, template_id, at_ms)
        elif consent is None or at_ms > consent.refused_ms + DAY_MS:
            # A delivery is over within a day: what went out before a refusal is not returned.
            _give(state, template_id, at_ms)


def _forget_oldest(state: State) -> None:
    """Make room for an answer; those to all channels and to following stay."""
    answers = state.answers
    channels = [what for what in answers if what not in (ALL_CHANNELS, FOLLOWING)]
    del answers[min(channels, key=lambda what: (answers[what][0], what))]


def _is_no(entry: dict[str, Any]) -> bool:
    code, status = str(entry.get("code", "")), str(entry.get("status", ""))
    return entry.get("answer") in _NO or code == _USED_UP or "refuse" in status


def _consent_to(state: State, template_id: str) -> Consent:
    consent = state.consents.get(template_id)
    if consent is None:
        if len(state.consents) >= MAX_KEYS:
            del state.consents[min(state.consents, key=lambda other: _newest(state, other))]
        consent = state.consents[template_id] = Consent()
    return consent


def _newest(state: State, template_id: str) -> tuple[int, str]:
    consent = state.consents[template_id]
    return max(consent.refused_ms, *consent.times[-1:], 0), template_id


def _give(state: State, template_id: str, at_ms: int) -> None:
    consent = _consent_to(state, template_id)
    if at_ms > consent.refused_ms:
        insort(consent.times, at_ms)
        del consent.times[:-MAX_KEYS]


def _refuse(state: State, template_id: str, at_ms: int) -> None:
    consent = _consent_to(state, template_id)
    consent.refused_ms = max(at_ms, consent.refused_ms)
    consent.times = [time_ms for time_ms in consent.times if time_ms > consent.refused_ms]
