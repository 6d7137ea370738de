"""The job that every engine does: events, their validation, the fold of a user, the touch.

Only pydantic and msgspec are imported here, so that a peer's venv can load it. The
data is seeded: the same arguments give the same events, touches and counts.
"""

import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
from pydantic import BaseModel

PARTITIONS: Final = 4
TOUCH_EVERY: Final = 50
# A tenth of the events comes from a few heavy users: even a short run reaches the
# touch rule, while nine tenths spread evenly, which is the worst case for a runtime
# that writes each changed user once a batch.
HEAVY_USERS: Final = 20
HEAVY_SHARE: Final = 0.1
_SEED: Final = 20260725
_START: Final = datetime(2026, 7, 25, 2, 0, tzinfo=UTC)
_CATEGORIES: Final = ("skincare", "makeup", "fragrance", "haircare", "gifts", "tools")
_CHANNELS: Final = ("app", "mini", "official_account")


class Properties(BaseModel):
    """What the shopper looked at."""

    sku: str
    category: str
    amount_fen: int
    quantity: int


class Context(BaseModel):
    """Where the event was made."""

    channel: str
    page: str
    locale: str


class Event(BaseModel):
    """One event as pydantic validates it."""

    messageId: str  # noqa: N815 - the name on the wire
    userId: str  # noqa: N815 - as above
    event: str
    timestamp: datetime
    properties: Properties
    context: Context


class StructProperties(msgspec.Struct):
    """What the shopper looked at, for msgspec."""

    sku: str
    category: str
    amount_fen: int
    quantity: int


class StructContext(msgspec.Struct):
    """Where the event was made, for msgspec."""

    channel: str
    page: str
    locale: str


class StructEvent(msgspec.Struct):
    """One event as msgspec validates it: the same fields and types."""

    messageId: str  # noqa: N815 - the name on the wire
    userId: str  # noqa: N815 - as above
    event: str
    timestamp: datetime
    properties: StructProperties
    context: StructContext


class State(NamedTuple):
    """What is kept of a user."""

    events: int
    sum_fen: int
    category: str


class Touch(NamedTuple):
    """A touch that is due; ``id`` names the event that made it due."""

    id: str
    user: str
    events: int


FRESH: Final = State(0, 0, "")
AnyEvent = Event | StructEvent
Validate = Callable[[bytes], AnyEvent]
# The validators by name: `pydantic` is what all engines use, unless a row says otherwise.
VALIDATE: Final[dict[str, Validate]] = {
    "pydantic": Event.model_validate_json,
    "msgspec": msgspec.json.Decoder(StructEvent).decode,
}


def fold(state: State, event: AnyEvent) -> tuple[State, Touch | None]:
    """Return the user's next state, and the touch if this event made one due."""
    count = state.events + 1
    new = State(count, state.sum_fen + event.properties.amount_fen, event.properties.category)
    if count % TOUCH_EVERY:
        return new, None
    return new, Touch(f"{event.userId}:{count}:{event.messageId}", event.userId, count)


def encode_touch(touch: Touch) -> bytes:
    """Return the record of the touches topic."""
    return json.dumps({"touchId": touch.id, "userId": touch.user, "count": touch.events}).encode()


def touch_id(value: bytes) -> str:
    """Return the id in a record of the touches topic."""
    return str(json.loads(value)["touchId"])


_PACKED: Final = struct.Struct("<qq")


def pack(state: State) -> bytes:
    """Return a state as bytes, for engines whose state is bytes."""
    return _PACKED.pack(state.events, state.sum_fen) + state.category.encode()


def unpack(packed: bytes | None) -> State:
    """Return the state that ``pack`` packed; a fresh one for ``None``."""
    if packed is None:
        return FRESH
    count, sum_fen = _PACKED.unpack_from(packed)
    return State(count, sum_fen, packed[_PACKED.size :].decode())


@dataclass
class Expected:
    """What the events must lead to; made by a fold that shares no code with any engine."""

    events: int = 0
    sum_fen: int = 0
    bytes: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    touches: set[str] = field(default_factory=set)

    def add(self, user: str, message_id: str, amount_fen: int) -> None:
        """Note one event."""
        self.events += 1
        self.sum_fen += amount_fen
        count = self.counts[user] = self.counts.get(user, 0) + 1
        if count % TOUCH_EVERY == 0:
            self.touches.add(f"{user}:{count}:{message_id}")


def make(events: int, users: int, expected: Expected) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) of each event, about 340 bytes; fills *expected* on the way."""
    rng = random.Random(_SEED)
    for i in range(events):
        heavy = rng.random() < HEAVY_SHARE
        user = f"user-{rng.randrange(min(HEAVY_USERS, users) if heavy else users):08d}"
        amount_fen = rng.randrange(100, 100_000)
        message_id = f"{rng.getrandbits(128):032x}"
        value = _json(i, user, message_id, amount_fen, rng)
        expected.bytes += len(value)
        expected.add(user, message_id, amount_fen)
        yield user.encode(), value


def _json(i: int, user: str, message_id: str, amount_fen: int, rng: random.Random) -> bytes:
    sku = rng.randrange(5000)
    at = (_START + timedelta(milliseconds=20 * i)).isoformat(timespec="milliseconds")
    return (
        f'{{"messageId":"{message_id}","userId":"{user}","event":"product_viewed",'
        f'"timestamp":"{at}","properties":{{"sku":"SKU-{sku:06d}",'
        f'"category":"{_CATEGORIES[sku % 6]}","amount_fen":{amount_fen},"quantity":{1 + sku % 3}}},'
        f'"context":{{"channel":"{_CHANNELS[sku % 3]}",'
        f'"page":"pages/product/detail?sku={sku:06d}&from=recommend","locale":"zh-CN"}}}}'
    ).encode()
