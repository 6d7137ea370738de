"""What each door's client sends for a step, and the seeded share of what goes wrong.

Pure. Every message carries its fate: a good one lands as an event, a flawed one is
rejected with its reason, a forged one is refused at the door (and is not accepted).
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from deploy.demo.shoppers import Step, steps

Fate = Literal["lands", "rejected", "refused"]

# Sensors' preset names for what its mini-program SDK collects by itself.
_PRESETS: Final = {
    "mini_program_launched": "$MPLaunch",
    "page_viewed": "$MPViewScreen",
    "content_shared": "$MPShare",
}
# An openid is one account's: the mini-program's is not the official account's.
MINI_APPID: Final = "wx51a0c0ffee51a0c0"
_RETRY_MS: Final = 5000  # WeChat asks again when 5 s brought no answer


@dataclass(frozen=True, slots=True)
class AppCall:
    """One call of the Segment SDK: ``method`` and its keyword arguments."""

    time_ms: int
    fate: Fate
    method: Literal["track", "identify", "screen"]
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class MiniEvent:
    """One event of the Sensors mini-program SDK; a session's events share requests."""

    time_ms: int
    fate: Fate
    session: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class MiniBody:
    """A whole body of ``/sa`` that no one can decode: a broken client."""

    time_ms: int
    fate: Fate
    body: bytes


@dataclass(frozen=True, slots=True)
class Callback:
    """One message from WeChat's servers; a flaw spoils its cipher text or signature."""

    time_ms: int
    fate: Fate
    xml: bytes
    flaw: Literal["", "cipher", "signature"] = ""


Message = AppCall | MiniEvent | MiniBody | Callback


def messages(*, users: int, seed: int, now_ms: int) -> list[Message]:
    """Return the day's messages in time order, flaws included, each kind at least once."""
    day = steps(users=users, seed=seed, now_ms=now_ms)
    good = [message(step) for step in day]
    rng = random.Random(f"{seed}/flaws")  # noqa: S311 - a seeded day, not a secret
    flawed: list[Message] = []
    for _ in range(max(1, users // 50)):
        flawed.extend(_flaws(rng, day))
    return sorted([*good, *flawed], key=lambda sent: sent.time_ms)


def message(step: Step, *, fate: Fate = "lands") -> Message:
    """Return what the step's door sends for it."""
    if step.door == "app":
        return _app_call(step, fate)
    if step.door == "mini":
        return MiniEvent(step.time_ms, fate, step.session, _sensors_event(step))
    return Callback(step.time_ms, fate, _xml(step))


def _app_call(step: Step, fate: Fate) -> AppCall:
    shopper = step.shopper
    context: dict[str, Any] = {"app": {"name": "shop", "version": "5.2.0"}}
    if shopper.channel:
        context["campaign"] = {"source": shopper.channel, "medium": "kol", "name": "11.11"}
    arguments: dict[str, Any] = {
        "user_id": shopper.user_id,
        "anonymous_id": shopper.device,
        "timestamp": datetime.fromtimestamp(step.time_ms / 1000, UTC),
        "message_id": f"app-{step.key}",
        "context": context,
    }
    if step.name == "user_identified":
        return AppCall(step.time_ms, fate, "identify", arguments | {"traits": step.properties})
    if step.name == "screen_viewed":
        named = {"name": step.properties["screen"], "properties": {}}
        return AppCall(step.time_ms, fate, "screen", arguments | named)
    track = {"event": step.name, "properties": step.properties}
    return AppCall(step.time_ms, fate, "track", arguments | track)


def _sensors_event(step: Step) -> dict[str, Any]:
    shopper = step.shopper
    identities = {
        "$identity_mp_id": shopper.device,
        f"$identity_mp_{MINI_APPID}_openid": shopper.mini_openid,
    }
    if shopper.logged_in_mini:
        identities["$identity_login_id"] = shopper.user_id
    properties = step.properties | {"$scene": f"wx-{shopper.scene}", "$is_first_day": False}
    if shopper.channel:
        properties["$latest_utm_source"] = shopper.channel
    if step.name in _PRESETS:
        properties["$url_path"] = properties.pop("path", "pages/index")
    if step.name == "content_shared":
        properties |= {"$share_depth": 1, "$share_distinct_id": shopper.device}
    return {
        "distinct_id": shopper.user_id if shopper.logged_in_mini else shopper.mini_openid,
        "anonymous_id": shopper.device,
        "identities": identities,
        "type": "track",
        "event": _PRESETS.get(step.name, step.name),
        "time": step.time_ms,
        "_track_id": int(step.key[-8:], 16),
        "lib": {"$lib": "MiniProgram", "$lib_version": "1.20.2", "$lib_method": "code"},
        "properties": properties,
    }


def _xml(step: Step) -> bytes:
    sender, created = step.shopper.openid, step.time_ms // 1000
    if step.name == "message_received":
        number = int(step.key[-8:], 16)
        kind = f"<MsgType>text</MsgType>{_tag('Content', step.properties['content'])}"
        kind += f"<MsgId>{number}</MsgId>"
    elif step.name == "menu_clicked":
        kind = _push("CLICK", step.properties["menu"])
    else:
        store = step.properties.get("qr")
        kind = _push("subscribe", f"qrscene_{store}" if store else "")
    return (
        f"<xml>{_tag('ToUserName', 'gh_siyu_demo')}{_tag('FromUserName', sender)}"
        f"<CreateTime>{created}</CreateTime>{kind}</xml>"
    ).encode()


def _tag(name: str, text: str) -> str:
    return f"<{name}><![CDATA[{text}]]></{name}>"


def _push(event: str, key: str) -> str:
    return "<MsgType>event</MsgType>" + _tag("Event", event) + _tag("EventKey", key)


def _flaws(rng: random.Random, day: list[Step]) -> Iterator[Message]:
    """Yield one message of each flaw, made from random good steps of the day."""

    def pick(like: Callable[[Step], bool], key: str) -> Step:
        step = rng.choice([step for step in day if like(step)])
        return replace(step, key=f"{step.key}-{key}-{rng.getrandbits(32):08x}")

    def view(door: str) -> Step:
        return pick(lambda step: step.door == door and step.name == "product_viewed", "flaw")

    # A client that retries although its first try went through: same message id.
    again = rng.choice([step for step in day if step.door == "app"])
    yield replace(message(again, fate="rejected"), time_ms=again.time_ms + 1000)
    asked = rng.choice([step for step in day if step.door == "account"])
    yield replace(message(asked, fate="rejected"), time_ms=asked.time_ms + _RETRY_MS)
    # Properties of the wrong type, and a text that no store takes.
    for door, wrong in (("app", "sixty yuan"), ("mini", {"yuan": 60})):
        step = view(door)
        spoilt = replace(step, properties=step.properties | {"price": wrong})
        yield message(spoilt, fate="rejected")
    step = view("app")
    null = replace(step, name="search_performed", properties={"query": "sun\0screen"})
    yield message(null, fate="rejected")
    # An event about nobody.
    step = view("mini")
    nobody = _sensors_event(step) | {"distinct_id": "", "anonymous_id": "", "identities": {}}
    yield MiniEvent(step.time_ms, "rejected", step.session, nobody)
    # Bodies that cannot be read, and a caller who is not WeChat.
    noise = f"{rng.getrandbits(64):016x}".encode()
    yield MiniBody(step.time_ms, "rejected", b"data_list=%2A" + noise + b"%2A")
    yield Callback(asked.time_ms, "rejected", b"<xml>" + noise + b"</xml>", "cipher")
    yield Callback(asked.time_ms, "refused", b"<xml>" + noise + b"</xml>", "signature")
