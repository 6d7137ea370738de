"""`siyu tags import`: values from outside become events, by the door that all events take.

Each row is one item on ``events.raw``, as a service's own: the worker identifies its user,
drops repeats, keys it, and it lands like any event. The message id is derived from tag,
user, value and time, so a run that was killed is run again; and a tag takes the latest by
time, so even a repeat that nobody remembers changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from schemas import clock
from schemas.errors import BrokerUnavailable, no_broker
from schemas.raw import Envelope, to_headers
from schemas.settings import Settings
from schemas.tags import IMPORTED
from schemas.topics import RAW
from streams.commands.tags.rows import Bad, Row, Rows
from streams.core.ids import make_id
from streams.sources.records import item_key

ACCOUNT: Final = "siyu-tags"
_SHOWN: Final = 100
_FLUSH_ROWS: Final = 20_000
_FUTURE_MS: Final = 5 * 60_000
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Outcome:
    """What became of the rows; the first hundred bad ones are kept."""

    rows: int = 0
    sent: int = 0
    bad_rows: int = 0
    bad: list[Bad] = field(default_factory=list)

    def refuse(self, bad: Bad) -> None:
        """Note a bad row."""
        self.bad_rows += 1
        if len(self.bad) < _SHOWN:
            self.bad.append(bad)


def item_of(tag: str, row: Row, at_ms: int) -> bytes:
    """Return the item of a row: the same row makes the same bytes."""
    kind, _, name = row.user.partition(":")
    known = _encode(row.value).decode()
    body = {
        "type": "track",
        "event": IMPORTED,
        "messageId": f"tag-{make_id(tag, row.user, known, str(at_ms))}",
        "timestamp": datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(),
        "identities": {kind: name},
        "properties": {"tag": tag, "value": row.value},
    }
    return _encode(body | ({"userId": name} if kind == "user_id" else {}))


def send_rows(
    settings: Settings,
    tag: str,
    rows: Rows,
    default_at_ms: int,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _done: None,
) -> Outcome:
    """Send all good rows, acked by the broker; raises ``BrokerUnavailable``, then run it again.

    ``default_at_ms`` is the time of rows without one.
    """
    outcome = Outcome()
    sender = None if dry_run else _Sender(settings)
    try:
        for done, row in rows:
            outcome.rows += 1
            progress(done)
            at_ms = default_at_ms if isinstance(row, Bad) or row.at_ms is None else row.at_ms
            if isinstance(row, Bad):
                outcome.refuse(row)
            elif at_ms > clock.now_ms() + _FUTURE_MS:
                outcome.refuse(Bad(row.line, "at: lies in the future"))
            elif sender is not None:
                sender.send(item_of(tag, row, at_ms), row.user)
                outcome.sent += 1
        if sender is not None:
            sender.flush()
    finally:
        if sender is not None:
            sender.close()
    return outcome


class _Sender:
    """Items to ``events.raw``; what is not acked fails the run."""

    def __init__(self, settings: Settings) -> None:
        try:
            self._producer = KafkaProducer(
                bootstrap_servers=settings.kafka, acks="all", linger_ms=20, compression_type="gzip"
            )
        except KafkaError as down:
            raise no_broker(settings.kafka, down) from down
        self._acks: list[Any] = []

    def send(self, item: bytes, user: str) -> None:
        envelope = Envelope(
            door="native",
            source="server",
            account=ACCOUNT,
            received_at_ms=clock.now_ms(),
        )
        key = item_key(item) if user.startswith("user_id:") else user.encode()
        try:
            sent = self._producer.send(RAW.name, item, key, headers=to_headers(envelope))
        except KafkaError as problem:
            raise BrokerUnavailable(RAW.name, f"{problem}; run the import again") from problem
        self._acks.append(sent)
        if len(self._acks) >= _FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        acks, self._acks = self._acks, []
        try:
            self._producer.flush(timeout=60)
            for ack in acks:
                ack.get(timeout=0)
        except KafkaError as problem:
            raise BrokerUnavailable(RAW.name, f"{problem}; run the import again") from problem

    def close(self) -> None:
        self._producer.close(timeout=5)
