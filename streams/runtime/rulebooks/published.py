"""The topic ``rulebooks``, read whole and folded: what was pushed, what runs where, who refuses."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from schemas.rulebooks import (
    APPLIED_KEY,
    REFUSED_KEY,
    VERSION_KEY,
    Applied,
    Pushed,
    Refused,
    decode_applied,
    decode_pushed,
    decode_refused,
)
from schemas.settings import Settings
from schemas.topics import RULEBOOKS
from streams.runtime.topics import read_topic

log = structlog.get_logger()


@dataclass(slots=True)
class Published:
    """The topic up to some record; ``orders`` are the offsets at which versions were pushed last.

    ``newest`` is the version in force: the one that was written last.
    """

    versions: dict[str, Pushed] = field(default_factory=dict)
    orders: dict[str, int] = field(default_factory=dict)
    applied: dict[int, Applied] = field(default_factory=dict)
    refused: dict[str, Refused] = field(default_factory=dict)

    @property
    def pushed(self) -> list[Pushed]:
        """Return the versions, the one in force last."""
        return [self.versions[v] for v in sorted(self.orders, key=self.orders.__getitem__)]

    @property
    def newest(self) -> Pushed | None:
        """Return the version in force, ``None`` if nothing was ever pushed."""
        pushed = self.pushed
        return pushed[-1] if pushed else None

    def take(self, records: Iterable[Any]) -> None:
        """Fold records of the topic, in order; what is not of our making is passed over."""
        for record in records:
            try:
                self._take(record.key or b"", record.value, record.offset)
            except (msgspec.MsgspecError, UnicodeError, ValueError) as bad:
                log.warning(
                    "unreadable record",
                    topic=RULEBOOKS.name,
                    offset=record.offset,
                    problem=str(bad),
                )

    def _take(self, key: bytes, value: bytes | None, offset: int) -> None:
        if key.startswith(VERSION_KEY):
            version = key.removeprefix(VERSION_KEY).decode()
            self.orders.pop(version, None)
            if value is not None:
                self.versions[version] = decode_pushed(value)
                self.orders[version] = offset
        elif key.startswith(APPLIED_KEY) and value is not None:
            applied = decode_applied(value)
            self.applied[applied.partition] = applied
        elif key.startswith(REFUSED_KEY):
            worker = key.removeprefix(REFUSED_KEY).decode()
            self.refused.pop(worker, None)
            if value is not None:
                self.refused[worker] = decode_refused(value)


async def read_published(settings: Settings) -> Published:
    """Return what the topic holds now; raises ``PartMissing``."""
    published = Published()
    async for record in read_topic(settings, RULEBOOKS):
        published.take([record])
    return published
