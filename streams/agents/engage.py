"""Engage: events of a user move tags, rules decide, touches go out; timers wake users."""

from collections.abc import Callable, Mapping

import msgspec
import structlog

from schemas.events import Event, decode_event
from schemas.rejects import Reject, encode_rejected, rejected
from schemas.topics import DECISIONS, PROFILES, REJECTED, TAGS, TOUCHES
from schemas.touches import TagChange, encode
from streams.agents.ports import Batch, Lane, Record
from streams.core.engine import Engine
from streams.core.profiles import profile_of
from streams.core.rebuild import apply_rebuilt, is_rebuilt
from streams.core.replay import run_timers
from streams.core.rules.evaluation import Effects
from streams.core.state.user import State
from streams.core.tags.changes import records as change_records
from streams.core.tags.provenance import moved

log = structlog.get_logger()


class _Loaded:
    """The decoded state of one user while a batch is processed."""

    __slots__ = ("offset", "state")

    def __init__(self, state: State, offset: int) -> None:
        self.state, self.offset = state, offset


class Engage:
    """Runs the pure engine over batches and timers of a lane.

    ``origins`` keeps in each state since when and by which event the tags have their values;
    ``profiles`` writes the whole profile of each user whose tags a batch moved. ``noted``,
    where it is set, is called with each user that is written.
    """

    def __init__(self, engine: Engine, *, origins: bool = True, profiles: bool = False) -> None:
        self.engine, self._origins, self._profiles = engine, origins, profiles
        self.noted: Callable[[int, bytes, Mapping[str, str]], None] | None = None
        self._books: dict[int, tuple[Engine, str]] = {}
        self._version = ""

    def use(self, partition: int, engine: Engine, version: str) -> None:
        """Run a partition by this engine from its next batch or timer on."""
        self.engine, self._version = self._books[partition] = engine, version

    def engine_of(self, partition: int) -> Engine:
        """Return the engine that a partition runs by."""
        return self._books[partition][0] if partition in self._books else self.engine

    def process(self, lane: Lane, batch: Batch) -> None:
        """Apply a batch; if an event makes the engine raise, that event alone is rejected."""
        users: dict[bytes, _Loaded] = {}
        effects: list[tuple[bytes, Effects]] = []
        newest_ms = lane.watermark_ms
        self._turn_to(lane.partition)
        try:
            for record in batch.records:
                event = decode_event(record.value or b"")
                newest_ms = max(newest_ms, event.received_at_ms)
                self._apply(lane, users, effects, record, event, newest_ms)
        except Exception:  # found again, record by record, below
            log.exception("batch failed, going record by record", partition=lane.partition)
            self._process_singly(lane, batch)
            return
        self._write(lane, users, effects)
        lane.advance(newest_ms)

    def wake(self, lane: Lane, key: bytes, now_ms: int) -> None:
        """Fire a user's due timers."""
        self._turn_to(lane.partition)
        state = self.engine.load(lane.get(key))
        loaded = _Loaded(state, lane.offset(key))
        fired = run_timers(self.engine, state, key.decode(), now_ms)
        self._write(lane, {key: loaded}, [(key, effect) for _, effect in fired])

    def _turn_to(self, partition: int) -> None:
        if partition in self._books:
            self.engine, self._version = self._books[partition]

    def _process_singly(self, lane: Lane, batch: Batch) -> None:
        for record in batch.records:
            users: dict[bytes, _Loaded] = {}
            effects: list[tuple[bytes, Effects]] = []
            body = record.value or b""
            try:
                event = decode_event(body)
                now_ms = max(lane.watermark_ms, event.received_at_ms)
                self._apply(lane, users, effects, record, event, now_ms)
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
            lane.advance(now_ms)

    def _apply(  # noqa: PLR0917 - a hot path: keywords cost
        self,
        lane: Lane,
        users: dict[bytes, _Loaded],
        effects: list[tuple[bytes, Effects]],
        record: Record,
        event: Event,
        now_ms: int,
    ) -> None:
        """Apply an event at the lane's time, which decides what of the user's timers was before."""
        key = record.key or event.user.encode()
        loaded = users.get(key)
        if loaded is None:
            loaded = users[key] = _Loaded(self.engine.load(lane.get(key)), lane.offset(key))
        # A replay without transactions: this record is in the state already.
        if record.offset <= loaded.offset:
            return
        due_ms = self.engine.next_timer_ms(loaded.state)
        if due_ms is not None and due_ms <= now_ms:
            fired = run_timers(self.engine, loaded.state, event.user, now_ms)
            effects.extend((key, effect) for _, effect in fired)
        if is_rebuilt(event):
            effects.append((key, apply_rebuilt(self.engine, loaded.state, event, loaded.offset)))
        else:
            effects.append((key, self.engine.on_event(loaded.state, event, now_ms)))
        loaded.offset = record.offset

    def _write(
        self, lane: Lane, users: dict[bytes, _Loaded], effects: list[tuple[bytes, Effects]]
    ) -> None:
        partition, changed = lane.partition, dict[bytes, list[TagChange]]()
        for key, effect in effects:
            for touch in effect.touches:
                lane.emit_at_once(TOUCHES.name, key, encode(touch), partition=partition)
            if effect.tag_changes:
                for record in change_records(key.decode(), effect.tag_changes):
                    lane.emit(TAGS.name, key, encode(record), partition=partition)
            for decision in effect.decisions:
                decision.rulebook = self._version
                lane.emit(DECISIONS.name, key, encode(decision), partition=partition)
            if effect.tag_changes:
                changed.setdefault(key, []).extend(effect.tag_changes)
        self._emit_profiles(lane, users, changed)
        for key, loaded in users.items():
            if self.noted is not None:
                self.noted(partition, key, loaded.state.identities)
            timer_ms = self.engine.next_timer_ms(loaded.state)
            packed = self.engine.dump(loaded.state)
            lane.put(key, packed, offset=loaded.offset, timer_ms=timer_ms)

    def _emit_profiles(
        self, lane: Lane, users: dict[bytes, _Loaded], changed: dict[bytes, list[TagChange]]
    ) -> None:
        for key, changes in changed.items():
            loaded = users[key]
            if self._origins:
                loaded.state.provenance = moved(loaded.state.provenance, changes)
            if self._profiles:
                profile = profile_of(self.engine, loaded.state, key.decode(), loaded.offset)
                lane.emit(PROFILES.name, key, encode(profile), partition=lane.partition)
