"""The Python producer for services that sit next to Kafka: no HTTP in between."""

import threading
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from schemas import topics
from schemas.errors import BrokerUnavailable
from schemas.raw import Envelope, to_headers
from schemas.sources import Source
from streams.sources.doors import MAX_ITEM_BYTES, item_key

_LIBRARY: Final = {"library": {"name": "siyu-python"}}
_encode = msgspec.json.Encoder().encode


class SiyuProducer:
    """Events straight to ``events.raw``, in Segment's form; safe to share between threads.

    An event is stored once ``flush()`` (or the end of a ``with``) returned without an error.
    ``source`` says what kind of service sends, ``account`` is its name.
    """

    def __init__(
        self, bootstrap: str, *, source: Source, account: str, timeout_s: float = 30.0
    ) -> None:
        self._source, self._account, self._timeout_s = source, account, timeout_s
        self._failed: list[BaseException] = []
        self._lock = threading.Lock()
        timeout_ms = int(timeout_s * 1000)
        try:
            self._producer = KafkaProducer(
                bootstrap_servers=bootstrap,
                client_id=f"siyu-{account}",
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                max_block_ms=timeout_ms,
                request_timeout_ms=max(1000, timeout_ms // 2),
                delivery_timeout_ms=timeout_ms,
            )
        except KafkaError as error:
            raise BrokerUnavailable(topics.RAW.name, f"no broker at {bootstrap}") from error

    def track(
        self,
        user_id: str | None = None,
        event: str = "",
        properties: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
        message_id: str | None = None,
    ) -> str:
        """Send that something happened; return its message id, for a retry with the same one."""
        if not event:
            raise ValueError("event: a name is needed, such as 'order_paid'")
        body = {"type": "track", "event": event, "properties": dict(properties or {})}
        return self._send(body, (user_id, anonymous_id), context, timestamp, message_id)

    def identify(
        self,
        user_id: str | None = None,
        traits: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
        message_id: str | None = None,
    ) -> str:
        """Send what is known about a user; return the message id."""
        body = {"type": "identify", "traits": dict(traits or {})}
        return self._send(body, (user_id, anonymous_id), context, timestamp, message_id)

    def flush(self) -> None:
        """Wait for all acks; raises ``BrokerUnavailable`` if any event since the last was lost."""
        late: KafkaError | None = None
        try:
            self._producer.flush(timeout=self._timeout_s)
        except KafkaError as error:
            late = error
        with self._lock:
            failed, self._failed = self._failed, []
        if failed or late:
            cause = failed[0] if failed else late
            problem = f"{len(failed) or 'some'} events without an ack: {cause}"
            raise BrokerUnavailable(topics.RAW.name, problem) from cause

    def close(self) -> None:
        """Flush and disconnect; raises as ``flush`` does, after disconnecting."""
        try:
            self.flush()
        finally:
            self._producer.close(timeout=self._timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(
        self,
        body: dict[str, Any],
        ids: tuple[str | None, str | None],
        context: Mapping[str, Any] | None,
        timestamp: datetime | None,
        message_id: str | None,
    ) -> str:
        user_id, anonymous_id = ids
        if not user_id and not anonymous_id:
            raise ValueError("user_id or anonymous_id: one of them is needed")
        when = timestamp or datetime.now(UTC)
        if when.tzinfo is None:
            raise ValueError("timestamp: a zone is needed, such as datetime.now(timezone.utc)")
        message_id = message_id or str(uuid.uuid4())
        body |= {"messageId": message_id, "timestamp": when.isoformat()}
        body |= {"context": {**_LIBRARY, **(context or {})}}
        body |= {"userId": user_id} if user_id else {}
        body |= {"anonymousId": anonymous_id} if anonymous_id else {}
        item = _encode(body)
        if len(item) > MAX_ITEM_BYTES:
            raise ValueError(f"the event has {len(item)} bytes, over {MAX_ITEM_BYTES}")
        self._hand_over(item)
        return message_id

    def _hand_over(self, item: bytes) -> None:
        envelope = Envelope(
            door="native",
            source=self._source,
            account=self._account,
            received_at_ms=time.time_ns() // 1_000_000,
        )
        try:
            ack = self._producer.send(
                topics.RAW.name, value=item, key=item_key(item), headers=to_headers(envelope)
            )
        except KafkaError as error:
            raise BrokerUnavailable(topics.RAW.name, str(error)) from error
        ack.add_errback(self._note)

    def _note(self, error: BaseException) -> None:
        with self._lock:
            self._failed.append(error)
