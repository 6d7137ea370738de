"""Ingest: raw items become canonical events keyed by user, or rejects with a reason."""

import time
from collections import Counter
from typing import Final

import structlog

from schemas.errors import RejectsTooMany
from schemas.events import Event, encode_event
from schemas.raw import Envelope, RawRecord, from_headers
from schemas.rejects import Reject, encode_rejected, rejected
from schemas.topics import EVENTS, REJECTED
from streams.agents.ports import Batch, Lane, Record
from streams.core.intake.dedupe import seen
from streams.core.intake.reject_guard import RejectGuard
from streams.core.intake.validate import Validator

log = structlog.get_logger()
_REMIND_S: Final = 60.0


class Ingest:
    """Validate, drop duplicates of a message id, key by user; watch the share of rejects.

    ``events`` counts by source what was accepted, ``rejects`` by (stage, reason) what was not.
    """

    def __init__(self, validator: Validator, watch: RejectGuard | None = None) -> None:
        self._validator = validator
        self.watch = watch or RejectGuard(ratio=0.5, least_items=200, mode="guard")
        self.events: Counter[str] = Counter()
        self.rejects: Counter[tuple[str, str]] = Counter()
        self._reminded_s: dict[str, float] = {}

    def process(self, lane: Lane, batch: Batch) -> None:
        """Turn each record into exactly one event or one reject.

        Raises ``RejectsTooMany`` where diverting more would hide a fault of ours: then
        nothing of the batch counts, and its records stay in ``events.raw``.
        """
        rejects = 0
        for record in batch.records:
            envelope = from_headers(record.headers)
            key, body = record.key or b"", record.value or b""
            account = envelope.account if envelope else ""
            outcome = self._outcome(lane, record, envelope, body)
            if isinstance(outcome, Event):
                lane.emit(EVENTS.name, outcome.user.encode(), encode_event(outcome))
                self.events[outcome.source] += 1
                self.watch.note(account)
            else:
                rejects += 1
                self.rejects[outcome.stage, outcome.reason] += 1
                self.watch.note(account, outcome.reason)
                reject = rejected(
                    outcome, envelope, body, partition=lane.partition, offset=record.offset
                )
                lane.emit(REJECTED.name, key, encode_rejected(reject), partition=lane.partition)
        if rejects:
            self._look(lane.partition)

    def _look(self, partition: int) -> None:
        alarms = self.watch.alarms()
        now_s = time.monotonic()
        for account in self._reminded_s.keys() - alarms.keys():
            del self._reminded_s[account]
            log.info("rejects fell below the alarm", account=account)
        for account, ratio in alarms.items():
            if now_s - self._reminded_s.get(account, -_REMIND_S) >= _REMIND_S:
                self._reminded_s[account] = now_s
                log.error(
                    "too many rejects",
                    account=account,
                    ratio=round(ratio, 3),
                    remedy="`siyu rejected list` tells the reasons; mend, then redrive",
                )
        if self.watch.must_stop():
            raise RejectsTooMany(partition, alarms)

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
