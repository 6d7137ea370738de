"""One user's state: what it holds, and how it is packed.

Packed as msgpack arrays; a field is only ever appended, so that older bytes load (it
takes its default) and newer bytes load too (it is passed over). Parts are kept by the
number of their tag or the id of their rule: one that the rulebook no longer has is kept,
unread. Layout and reasons: docs/decisions/state.md.
"""

from typing import Any, Final

import msgspec

from streams.core.state.cells import Cells, StateUnreadable

VERSION: Final = 2
DAY_MS: Final = 86_400_000
# Over this behind the user's clock an event counts in tags but is too old to act on.
LATE_MS: Final = DAY_MS


class Cause(msgspec.Struct, array_like=True):
    """What a waiting rule must remember of its event; mappings are kept as JSON."""

    message_id: str
    type: str
    event: str
    source: str
    door: str
    account: str
    time_ms: int
    received_at_ms: int
    identities: dict[str, str]
    properties: bytes
    context: bytes = b""
    traits: bytes = b""


class Timer(msgspec.Struct, array_like=True):
    """A wait of an absence rule: from ``start_ms`` to ``due_ms``, not run before ``fire_at_ms``."""

    rule: str
    key: str
    start_ms: int
    due_ms: int
    fire_at_ms: int
    cause: Cause


class RuleState(msgspec.Struct, array_like=True):
    """What one rule remembers of one user; times are in ms, by join key where it has one."""

    entered_ms: int | None = None
    counts: dict[str, list[int]] = {}
    afters: dict[str, list[int]] = {}
    nones: dict[str, list[int]] = {}
    exits: list[int] = []
    # By key of a sequence: time of an event * 16 + its step.
    chains: dict[str, list[int]] = {}
    # Of inactive: the latest event, epoch ms. Of a date: the ordinal of the day it fired last.
    latest: int = 0
    # The birthday, "MM-DD"; when the user entered by key of the re-entry.
    note: str = ""
    entered: dict[str, int] = {}


class Journey(msgspec.Struct, array_like=True):
    """A user amid a rule's steps: parked at ``step`` until ``due_ms``.

    ``version`` is the rule's when it began and ``trigger`` what it began with: the ids come
    from them. ``on_hold``: the step is a send that quiet hours put off, else a wait.
    """

    rule: str
    version: str
    trigger: str
    step: str
    due_ms: int
    fire_at_ms: int
    cause: Cause
    variant: str = ""
    on_hold: bool = False
    key: str = ""


class Watch(msgspec.Struct, array_like=True):
    """A goal that is waited for, from ``start_ms`` to ``end_ms``; ``touch_id`` is the last sent."""

    rule: str
    version: str
    trigger: str
    start_ms: int
    end_ms: int
    variant: str = ""
    in_holdout: bool = False
    touch_id: str = ""


class Consent(msgspec.Struct, array_like=True):
    """Consents to one subscription message: the times of those not used, the latest refusal."""

    times: list[int] = []
    refused_ms: int = 0


class State(msgspec.Struct, array_like=True):
    """One user. ``latest_ms`` is the user's clock: the latest time of an event or timer run.

    ``expiry_ms``: no shown tag value expires before it; 0 if none ever does.
    """

    version: int = VERSION
    latest_ms: int = 0
    expiry_ms: int = 0
    identities: dict[str, str] = {}
    tags: Cells = msgspec.field(default_factory=Cells)
    rules: dict[str, RuleState] = {}
    timers: list[Timer] = []
    caps: dict[str, list[int]] = {}
    # The user's time zone; journeys; the next due by rule (inactive, date); goals; when and for
    # which rule an exclusive group was taken; cap and time by touch, for refunds.
    zone: str = ""
    journeys: list[Journey] = []
    scheduled: dict[str, int] = {}
    goals: list[Watch] = []
    exclusive: dict[str, tuple[int, str]] = {}
    reserved: dict[str, tuple[str, int]] = {}
    # Since when, and by which event, the tags have their values: tags/provenance.py packs it.
    provenance: bytes = b""
    # By channel: until when it is open, and for how many messages.
    windows: dict[str, tuple[int, int]] = {}
    # By template id of the platform; and the latest answers, when and whether yes: consents.py.
    consents: dict[str, Consent] = {}
    answers: dict[str, tuple[int, bool]] = {}

    def rule(self, rule: str) -> RuleState:
        """Return the part of a rule, made on first use."""
        memory = self.rules.get(rule)
        if memory is None:
            memory = self.rules[rule] = RuleState()
        return memory


def _cells(_type: type, packed: dict[bytes, bytes]) -> Cells:
    if type(packed) is not dict:
        raise TypeError("cells are a map of groups")
    return Cells(packed)


_encode = msgspec.msgpack.Encoder(enc_hook=Cells.packed).encode
_decode = msgspec.msgpack.Decoder(State, dec_hook=_cells).decode
_version = msgspec.msgpack.Decoder(list[Any]).decode


def pack(state: State) -> bytes:
    """Return the bytes of a state."""
    return _encode(state)


def unpack(packed: bytes | None) -> State:
    """Return the state of bytes, a new one of ``None``; raises ``StateUnreadable``."""
    if packed is None:
        return State()
    try:
        state = _decode(packed)
    except msgspec.MsgspecError as broken:
        raise _unreadable(packed, str(broken)) from broken
    if state.version != VERSION:
        raise _unreadable(packed, "")
    return state


def _unreadable(packed: bytes, why: str) -> StateUnreadable:
    try:
        version = _version(packed)[0]
    except (msgspec.MsgspecError, IndexError):
        version = VERSION
    if version == VERSION:
        return StateUnreadable(f"packed state of {len(packed)} bytes: {why}")
    return StateUnreadable(
        f"packed state of layout {version}, this release reads {VERSION}: run the release that "
        "wrote it, or rebuild the states by a replay of `events` (docs/decisions/state.md)"
    )
