"""Engage: events of a user move tags, rules decide, touches go out; timers wake users."""

import msgspec
import structlog

from schemas.events import Event, decode_event
from schemas.rejects import Reject, encode_rejected, rejected
from schemas.topics import DECISIONS, REJECTED, TAGS, TOUCHES
from schemas.touches import encode
from streams.agents.ports import Batch, Lane, Record
from streams.core.engine import Engine
from streams.core.replay import run_timers
from streams.core.rules import Effects
from streams.core.state import State

log = structlog.get_logger()


class _Loaded:
    """The decoded state of one user while a batch is processed."""

    __slots__ = ("offset", "state")

    def __init__(self, state: State, offset: int) -> None:
        self.state, self.offset = state, offset


class Engage:
    """Runs the pure engine over batches and timers of a lane."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def process(self, lane: Lane, batch: Batch) -> None:
        """Apply a batch; if an event makes the engine raise, that event alone is rejected."""
        users: dict[bytes, _Loaded] = {}
        effects: list[tuple[bytes, Effects]] = []
        newest_ms = 0
        try:
            for record in batch.records:
                event = decode_event(record.value or b"")
                newest_ms = max(newest_ms, event.received_at_ms)
                self._apply(lane, users, effects, record, event)
        except Exception:  # found again, record by record, below
            log.exception("batch failed, going record by record", partition=lane.partition)
            self._process_singly(lane, batch)
            return
        self._write(lane, users, effects)
        lane.advance(newest_ms)

    def wake(self, lane: Lane, key: bytes, now_ms: int) -> None:
        """Fire a user's due timers."""
        state = self._engine.load(lane.get(key))
        loaded = _Loaded(state, lane.offset(key))
        fired = run_timers(self._engine, state, key.decode(), now_ms)
        self._write(lane, {key: loaded}, [(key, one) for _, one in fired])

    def _process_singly(self, lane: Lane, batch: Batch) -> None:
        for record in batch.records:
            users: dict[bytes, _Loaded] = {}
            effects: list[tuple[bytes, Effects]] = []
            body = record.value or b""
            try:
                event = decode_event(body)
                self._apply(lane, users, effects, record, event)
            except Exception as fault:  # noqa: BLE001 - kept with its bytes, its neighbours go on
                reason = "undecodable" if isinstance(fault, msgspec.MsgspecError) else "fault"
                reject = rejected(
                    Reject("engage", reason, repr(fault)),
                    None,
                    body,
                    partition=lane.partition,
                    offset=record.offset,
                )
                lane.emit(
                    REJECTED.name, record.key, encode_rejected(reject), partition=lane.partition
                )
                continue
            self._write(lane, users, effects)
            lane.advance(event.received_at_ms)

    def _apply(
        self,
        lane: Lane,
        users: dict[bytes, _Loaded],
        effects: list[tuple[bytes, Effects]],
        record: Record,
        event: Event,
    ) -> None:
        key = record.key or event.user.encode()
        loaded = users.get(key)
        if loaded is None:
            loaded = users[key] = _Loaded(self._engine.load(lane.get(key)), lane.offset(key))
        # A replay without transactions: this record is in the state already.
        if record.offset <= loaded.offset:
            return
        due_ms = self._engine.next_timer_ms(loaded.state)
        if due_ms is not None and due_ms <= event.received_at_ms:
            fired = run_timers(self._engine, loaded.state, event.user, event.received_at_ms)
            effects.extend((key, one) for _, one in fired)
        effects.append((key, self._engine.on_event(loaded.state, event)))
        loaded.offset = record.offset

    def _write(
        self, lane: Lane, users: dict[bytes, _Loaded], effects: list[tuple[bytes, Effects]]
    ) -> None:
        partition = lane.partition
        for key, effect in effects:
            for touch in effect.touches:
                lane.emit_at_once(TOUCHES.name, key, encode(touch), partition=partition)
            for change in effect.tag_changes:
                lane.emit(TAGS.name, key, encode(change), partition=partition)
            for decision in effect.decisions:
                lane.emit(DECISIONS.name, key, encode(decision), partition=partition)
        for key, loaded in users.items():
            timer_ms = self._engine.next_timer_ms(loaded.state)
            packed = self._engine.dump(loaded.state)
            lane.put(key, packed, offset=loaded.offset, timer_ms=timer_ms)
