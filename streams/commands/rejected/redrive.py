"""Redrive: rejects that would pass today go to ``events.raw`` again, each exactly once.

Key, bytes, envelope and so the original times are those of the first arrival; the envelope
names the reject. The item and the note that it was sent (``events.redriven``) are one Kafka
transaction under one transactional id: a killed redrive leaves both or neither, and a
second one fences the first before it reads the notes.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from schemas import clock
from schemas.crash import crash_point
from schemas.errors import BrokerUnavailable, Fenced
from schemas.events import Event
from schemas.raw import RawRecord, to_headers
from schemas.rejects import Redriven, Stage, encode_redriven
from schemas.settings import Settings
from schemas.topics import RAW, REDRIVEN
from streams.commands.rejected.log import Kept, read_redriven, read_rejects
from streams.core.intake.validate import Validator
from streams.runtime.topics import start

TRANSACTIONAL_ID: Final = "siyu-redrive"
# Readers of events.raw wait for an open transaction: each is short, and a killed one ends soon.
_CHUNK_ITEMS: Final = 200
_CHUNK_BYTES: Final = 2 * 1024 * 1024
_TRANSACTION_TIMEOUT_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rejects: all that match each value that is set."""

    fingerprint: str = ""
    stage: Stage | str = ""
    reason: str = ""

    def takes(self, kept: Kept) -> bool:
        """Tell whether a reject is meant."""
        reject = kept.reject
        return (
            self.fingerprint in ("", reject.fingerprint)
            and self.stage in ("", reject.stage)
            and self.reason in ("", reject.reason)
        )


@dataclass(slots=True)
class Outcome:
    """What a redrive did, or would do; ``still`` counts what fails today by reason."""

    matched: int = 0
    already_redriven: int = 0
    not_redrivable: int = 0
    recovers: int = 0
    sent: int = 0
    still: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as JSON has it."""
        tried = self.recovers + self.still.total()
        return {
            "matched": self.matched,
            "already_redriven": self.already_redriven,
            "not_redrivable": self.not_redrivable,
            "recovers": self.recovers,
            "recovery_rate": round(self.recovers / tried, 4) if tried else None,
            "still_rejected": dict(self.still.most_common()),
            "sent": self.sent,
        }


class Sender:
    """Sends items with their notes in short transactions."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        transactional = settings.kafka_transactions
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka,
            acks="all",
            enable_idempotence=transactional,
            transactional_id=TRANSACTIONAL_ID if transactional else None,
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
            max_request_size=4 * 1024 * 1024,
        )
        self._chunk: list[Kept] = []
        self._bytes = 0

    async def start(self) -> None:
        """Connect; from here on no other redrive can send."""
        await start(self._producer, self._settings)

    async def stop(self) -> None:
        """Let go of the broker."""
        await self._producer.stop()

    async def add(self, kept: Kept) -> int:
        """Take an item; return how many went out."""
        self._chunk.append(kept)
        self._bytes += len(kept.reject.body)
        if len(self._chunk) < _CHUNK_ITEMS and self._bytes < _CHUNK_BYTES:
            return 0
        return await self.flush()

    async def flush(self) -> int:
        """Send what was taken, wholly or not at all; return how many."""
        chunk, self._chunk, self._bytes = self._chunk, [], 0
        if not chunk:
            return 0
        try:
            if self._settings.kafka_transactions:
                async with self._producer.transaction():
                    await self._send(chunk)
                    crash_point("redrive.before_commit")
            else:
                await self._send(chunk)
        except ProducerFenced as fenced:
            raise Fenced(TRANSACTIONAL_ID) from fenced
        except KafkaError as problem:
            raise BrokerUnavailable(
                RAW.name, f"nothing of this chunk was sent: {problem!r}"
            ) from problem
        crash_point("redrive.after_commit")
        return len(chunk)

    async def _send(self, chunk: list[Kept]) -> None:
        # All items are acked before the first note: without transactions a crash in between
        # sends twice rather than never.
        for topic in (RAW.name, REDRIVEN.name):
            acks = []
            for kept in chunk:
                value, key, headers = _record(topic, kept)
                acks.append(await self._producer.send(topic, value, key, headers=headers))
            for ack in acks:
                await ack
            crash_point("redrive.after_send")


def _record(topic: str, kept: Kept) -> tuple[bytes, bytes | None, list[tuple[str, bytes]]]:
    reject = kept.reject
    if topic == REDRIVEN.name:
        note = Redriven(fingerprint=reject.fingerprint, at_ms=clock.now_ms())
        return encode_redriven(note), kept.id.encode(), []
    assert reject.envelope is not None  # noqa: S101 - only the redrivable get here
    envelope = msgspec.structs.replace(reject.envelope, redrive_of=kept.id)
    return reject.body, kept.key, to_headers(envelope)


async def redrive(
    settings: Settings, validator: Validator, choice: Choice, *, dry_run: bool, force: bool = False
) -> Outcome:
    """Send again what was chosen and passes today; with ``force`` also what does not.

    ``dry_run`` sends nothing. Raises ``Fenced`` if another redrive began meanwhile.
    """
    outcome = Outcome()
    sender = None if dry_run else Sender(settings)
    if sender is not None:
        await sender.start()
    try:
        redriven = await read_redriven(settings)
        async for kept in read_rejects(settings):
            if not choice.takes(kept):
                continue
            outcome.matched += 1
            if kept.id in redriven:
                outcome.already_redriven += 1
            elif not kept.redrivable:
                outcome.not_redrivable += 1
            elif (_passes(validator, kept, outcome) or force) and sender is not None:
                outcome.sent += await sender.add(kept)
        if sender is not None:
            outcome.sent += await sender.flush()
    finally:
        if sender is not None:
            await sender.stop()
    return outcome


def _passes(validator: Validator, kept: Kept, outcome: Outcome) -> bool:
    assert kept.reject.envelope is not None  # noqa: S101 - only the redrivable get here
    try:
        judged = validator.event(RawRecord(kept.reject.envelope, kept.reject.body), 0, 0)
    except Exception as fault:  # noqa: BLE001 - the fault that made it a reject may still be there
        outcome.still[f"fault: {type(fault).__name__}"] += 1
        return False
    if isinstance(judged, Event):
        outcome.recovers += 1
        return True
    outcome.still[judged.reason] += 1
    return False
