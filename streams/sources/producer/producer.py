"""The Python producer for services that sit next to Kafka: no HTTP in between.

With a spool an event is safe once ``track`` returned, whether the broker is there or not.
"""

import socket
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from schemas import clock, topics
from schemas.errors import BrokerUnavailable
from schemas.raw import HEADER, Envelope, to_headers
from schemas.sources import Source
from streams.sources.producer.courier import Courier, Parcel
from streams.sources.records import MAX_ITEM_BYTES, item_key

_LIBRARY: Final = {"library": {"name": "siyu-python"}}
_encode = msgspec.json.Encoder().encode


class SiyuProducer:
    """Events straight to ``events.raw``, in Segment's form; safe to share between threads.

    An event is stored once ``flush()`` (or the end of a ``with``) returned without an error.
    ``source`` says what kind of service sends, ``account`` is its name.

    With ``spool``, a folder of this process alone, events go to disk first and from there to the
    broker, in order. The broker may be away then, also at the start; kill -9 loses nothing
    for which ``track`` returned, and what a run left is sent by the next one. Over
    ``spool_max_bytes`` a call waits for room, at most ``timeout_s``, and then raises
    ``BrokerUnavailable`` without having taken the event.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        source: Source,
        account: str,
        timeout_s: float = 30.0,
        spool: Path | None = None,
        spool_max_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self._bootstrap, self._timeout_s = bootstrap, timeout_s
        self._source, self._account = source, account
        self._failed: list[BaseException] = []
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._courier: Courier | None = None
        if spool is None:
            self._connected()
        else:
            self._courier = Courier(spool, self._carry, max_bytes=spool_max_bytes)

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
        """Wait for all acks; raises ``BrokerUnavailable`` if any event since the last was lost.

        With a spool nothing is lost: it raises if the broker has not all of it in time.
        """
        if self._courier is not None:
            self._courier.flush(self._timeout_s)
            return
        producer = self._producer
        try:
            if producer is not None:
                producer.flush(timeout=self._timeout_s)
        except KafkaError as error:
            self._note(error)
        if self._failed:
            # An idempotent producer that lost a record is of no use any more; closing it
            # fails what it still holds, so that this is reported below.
            self._disconnect()
        with self._lock:
            failed, self._failed = self._failed, []
        if failed:
            problem = f"{len(failed)} failures, the first: {failed[0]}; send again"
            raise BrokerUnavailable(topics.RAW.name, problem) from failed[0]

    def close(self) -> None:
        """Flush and disconnect; raises as ``flush`` does, after disconnecting.

        With a spool it does not raise: what is left is on disk, and the next run sends it.
        """
        try:
            if self._courier is not None:
                self._courier.close(self._timeout_s)
            else:
                self.flush()
        finally:
            self._disconnect()

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
            received_at_ms=clock.now_ms(),
        )
        parcel = Parcel(item_key(item), to_headers(envelope)[0][1], item)
        if self._courier is not None:
            self._courier.take(parcel, timeout_s=self._timeout_s)
            return
        try:
            ack = _post(self._connected(), parcel)
        except KafkaError as error:
            raise BrokerUnavailable(topics.RAW.name, str(error)) from error
        ack.add_errback(self._note)

    def _carry(self, parcels: list[Parcel]) -> None:
        """Send parcels and wait for their acks; raises ``BrokerUnavailable`` if one has none."""
        try:
            producer = self._connected()
            acks = [_post(producer, parcel) for parcel in parcels]
            producer.flush(timeout=self._timeout_s)
            for ack in acks:
                ack.get(timeout=0)
        except KafkaError as error:
            # An idempotent producer that lost a record is of no use any more.
            self._disconnect()
            raise BrokerUnavailable(topics.RAW.name, str(error)) from error

    def _connected(self) -> KafkaProducer:
        with self._lock:
            if self._producer is None:
                self._producer = _connect(self._bootstrap, self._account, self._timeout_s)
            return self._producer

    def _disconnect(self) -> None:
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=0)

    def _note(self, error: BaseException) -> None:
        with self._lock:
            self._failed.append(error)


def _post(producer: KafkaProducer, parcel: Parcel) -> Any:  # noqa: ANN401 - kafka-python's future
    headers = [(HEADER, parcel.envelope)]
    return producer.send(topics.RAW.name, value=parcel.item, key=parcel.key, headers=headers)


def _connect(bootstrap: str, account: str, timeout_s: float) -> KafkaProducer:
    """Return a new producer; raises ``BrokerUnavailable``."""
    # kafka-python leaves its sockets open when nobody answers: so ask before it does.
    if not any(_answers(address, timeout_s) for address in bootstrap.split(",")):
        raise BrokerUnavailable(topics.RAW.name, f"no broker at {bootstrap}")
    timeout_ms = int(timeout_s * 1000)
    try:
        return KafkaProducer(
            bootstrap_servers=bootstrap,
            client_id=f"siyu-{account}",
            bootstrap_timeout_ms=timeout_ms,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_block_ms=timeout_ms,
            request_timeout_ms=max(1000, timeout_ms // 2),
            delivery_timeout_ms=timeout_ms,
        )
    except KafkaError as error:
        raise BrokerUnavailable(topics.RAW.name, f"no broker at {bootstrap}") from error


def _answers(address: str, timeout_s: float) -> bool:
    host, _, port = address.strip().rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    except (OSError, ValueError):
        return False
    return True
