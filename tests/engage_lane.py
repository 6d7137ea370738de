"""A lane without a broker: the real engage agent on records, in batches and ticks of any kind."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas import topics
from schemas.events import Event, LoggedEvent, encode_event
from schemas.touches import Decision, decode_decision
from streams.agents.engage import Engage
from streams.agents.ports import Batch, Record
from streams.core.engine import Engine


@dataclass(frozen=True)
class Logged:
    """One record of ``events``."""

    offset: int
    key: bytes
    value: bytes
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


class FakeLane:
    """Implements ``streams.agents.ports.Lane`` in memory."""

    partition = 0

    def __init__(self) -> None:
        self.watermark_ms = 0
        self.values: dict[bytes, tuple[bytes, int, int | None]] = {}
        self.decisions: list[Decision] = []

    def get(self, key: bytes, /) -> bytes | None:
        return self.values[key][0] if key in self.values else None

    def put(self, key: bytes, packed: bytes, *, offset: int, timer_ms: int | None = None) -> None:
        self.values[key] = packed, offset, timer_ms

    def offset(self, key: bytes, /) -> int:
        return self.values[key][1] if key in self.values else -1

    def emit(
        self,
        topic: str,
        key: bytes | None,  # noqa: ARG002 - the port's
        value: bytes,
        *,
        partition: int | None = None,  # noqa: ARG002 - the port's
        headers: Sequence[tuple[str, bytes]] = (),  # noqa: ARG002 - the port's
    ) -> None:
        if topic == topics.DECISIONS.name:
            self.decisions.append(decode_decision(value))

    def emit_at_once(self, topic: str, key: bytes, value: bytes, *, partition: int) -> None:
        pass

    def advance(self, received_at_ms: int) -> None:
        self.watermark_ms = max(self.watermark_ms, received_at_ms)


class LiveRun:
    """Feeds a log to engage as the worker does; a tick wakes whose timer is due."""

    def __init__(self, engine: Engine) -> None:
        self.lane, self._engage, self._next = FakeLane(), Engage(engine), 0

    def batch(self, events: Sequence[Event]) -> None:
        records: list[Record] = []
        for event in events:
            records.append(Logged(self._next, event.user.encode(), encode_event(event)))
            self._next += 1
        if records:
            self._engage.process(self.lane, Batch("events", 0, records, None))

    def tick(self, now_ms: int | None = None) -> None:
        """Let the lane's time, or a later one, wake its users."""
        now_ms = self.lane.watermark_ms if now_ms is None else now_ms
        for key, (_, _, timer_ms) in list(self.lane.values.items()):
            if timer_ms is not None and timer_ms <= now_ms:
                self._engage.wake(self.lane, key, now_ms)


def clocked(events: Sequence[Event]) -> list[Event]:
    """Return events as history gives them: with offset and the newest arrival up to each."""
    newest_ms, found = 0, list[Event]()
    for offset, event in enumerate(events):
        newest_ms = max(newest_ms, event.received_at_ms)
        fields = {name: getattr(event, name) for name in Event.__struct_fields__}
        found.append(LoggedEvent(**fields, offset=offset, clock_ms=newest_ms))
    return found
