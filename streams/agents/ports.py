"""What an agent sees of the runtime: a batch of records and the lane to answer on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Record(Protocol):
    """One record of a topic as the consumer read it; ``timestamp`` is epoch ms."""

    @property
    def offset(self) -> int:
        """The record's offset."""

    @property
    def key(self) -> bytes | None:
        """The record's key."""

    @property
    def value(self) -> bytes | None:
        """The record's value."""

    @property
    def timestamp(self) -> int:
        """When the record was produced, epoch ms."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The record's headers."""


@dataclass(slots=True)
class Batch:
    """Records of one partition in log order.

    ``follows`` is the end of the batch that the consumer yielded before this one, or
    ``None`` after a seek: a lane that has not seen that end has lost a batch.
    """

    topic: str
    partition: int
    records: list[Record]
    follows: int | None
    generation: int = 0
    next_offset: int = field(init=False)

    def __post_init__(self) -> None:
        self.next_offset = self.records[-1].offset + 1


class Lane(Protocol):
    """One input partition of one agent: its state and its outputs.

    All that is emitted or put while a batch (or a timer tick) is processed becomes
    durable together with the batch's offset, or not at all.
    """

    @property
    def partition(self) -> int:
        """The input partition; topics keyed by user share its number."""

    def get(self, key: bytes, /) -> bytes | None:
        """Return the packed state of a key."""

    def put(self, key: bytes, packed: bytes, *, offset: int, timer_ms: int | None = None) -> None:
        """Set the packed state; *timer_ms* is when the key wants to be woken (epoch ms)."""

    def offset(self, key: bytes, /) -> int:
        """Return the offset of the last record applied to a key, -1 if none."""

    def emit(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Produce inside the transaction; without *partition* the key's hash decides."""

    def emit_at_once(self, topic: str, key: bytes, value: bytes, *, partition: int) -> None:
        """Produce now, outside the transaction; it is acked before the transaction ends."""

    @property
    def watermark_ms(self) -> int:
        """The newest arrival that was processed, 0 if none was since the lane was opened."""

    def advance(self, received_at_ms: int) -> None:
        """Note how far the input has come, by the clock of the collectors."""
