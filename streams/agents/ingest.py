"""Ingest: raw items become canonical events keyed by user, or rejects with a reason."""

import structlog

from schemas.events import Event, encode_event
from schemas.raw import Envelope, RawRecord, from_headers
from schemas.rejects import Reject, encode_rejected, rejected
from schemas.topics import EVENTS, REJECTED
from streams.agents.ports import Batch, Lane, Record
from streams.core.dedupe import seen
from streams.core.validate import Validator

log = structlog.get_logger()


class Ingest:
    """Validate, drop duplicates of a message id, key by user."""

    def __init__(self, validator: Validator) -> None:
        self._validator = validator

    def process(self, lane: Lane, batch: Batch) -> None:
        """Turn each record into exactly one event or one reject."""
        for record in batch.records:
            envelope = from_headers(record.headers)
            key, body = record.key or b"", record.value or b""
            outcome = self._outcome(lane, record, envelope, body)
            if isinstance(outcome, Event):
                lane.emit(EVENTS.name, outcome.user.encode(), encode_event(outcome))
            else:
                reject = rejected(
                    outcome, envelope, body, partition=lane.partition, offset=record.offset
                )
                lane.emit(REJECTED.name, key, encode_rejected(reject), partition=lane.partition)

    def _outcome(
        self, lane: Lane, record: Record, envelope: Envelope | None, body: bytes
    ) -> Event | Reject:
        if envelope is None:
            return Reject("parse", "no_envelope", "the record has no readable siyu header")
        try:
            raw = RawRecord(envelope, body)
            outcome = self._validator.event(raw, lane.partition, record.offset)
        except Exception as fault:  # one item's fault must not stop its neighbours
            log.exception("validation failed", offset=record.offset, partition=lane.partition)
            return Reject("validate", "fault", repr(fault))
        if isinstance(outcome, Event) and not self._first_sight(lane, record, outcome):
            return Reject("dedupe", "duplicate_message_id", outcome.message_id)
        return outcome

    @staticmethod
    def _first_sight(lane: Lane, record: Record, event: Event) -> bool:
        key = record.key or event.user.encode()
        memory = seen(lane.get(key), event.message_id)
        if memory is None:
            return False
        lane.put(key, memory, offset=record.offset)
        return True
