"""One user as others see it: the latest profile on its topic, and the answer of a look-up."""

from typing import Any

import msgspec


class TagNow(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """One tag: its value, and the change that was last written of it, in event time.

    ``message_id`` is the event that moved it, empty where time alone did. Both are missing
    where the change was written before the worker kept them.
    """

    value: Any
    layer: str = ""
    since_ms: int | None = None
    message_id: str | None = None


class Profile(msgspec.Struct, rename="camel", kw_only=True):
    """A record of ``profiles``: all tags that a user has, right at ``at_ms``.

    ``offset`` is the last record of ``events``, in the same partition, that is in it.
    """

    user: str
    offset: int
    at_ms: int
    tags: dict[str, TagNow]


class TimerNow(msgspec.Struct, rename="camel", kw_only=True):
    """A rule that waits: ``kind`` is absence, step (amid a journey), or alarm (inactive, date).

    It is due at ``due_ms`` and runs at ``fire_at_ms`` at the earliest; ``message_id`` is the
    event behind it, empty for an alarm.
    """

    rule: str
    kind: str
    due_ms: int
    fire_at_ms: int
    message_id: str = ""


class Found(msgspec.Struct, rename="camel", kw_only=True):
    """The answer of a look-up: one user as the worker that owns the partition holds them.

    ``matched`` is the identifier by which the user was found, ``next_timer_ms`` when time
    alone moves a tag or a rule next.
    """

    user: str
    matched: str
    partition: int
    offset: int
    at_ms: int
    tags: dict[str, TagNow]
    identities: dict[str, str]
    timers: list[TimerNow]
    next_timer_ms: int | None = None


encode = msgspec.json.Encoder().encode
decode_profile = msgspec.json.Decoder(Profile).decode
decode_found = msgspec.json.Decoder(Found).decode
