"""The topic of rejects, read whole: each reject with its id, and which were redriven."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from schemas.rejects import Rejected, Stage, decode_redriven, decode_rejected
from schemas.settings import Settings
from schemas.topics import REDRIVEN, REJECTED
from streams.runtime.topics import read_topic

# Of these stages the bytes are one item that the worker can take again. `collect`: not an
# item yet; `dedupe`: its twin was accepted; `engage`: the event is in `events` already.
REDRIVABLE: Final[frozenset[Stage]] = frozenset({"parse", "validate", "identify"})
_SAMPLE_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class Kept:
    """One record of ``events.rejected``; its id is ``<partition>:<offset>``."""

    id: str
    key: bytes | None
    logged_ms: int
    reject: Rejected

    @property
    def redrivable(self) -> bool:
        """Whether the worker could take these bytes again."""
        return self.reject.envelope is not None and self.reject.stage in REDRIVABLE


@dataclass(slots=True)
class RejectGroup:
    """Rejects that failed alike; times are epoch ms of the records."""

    fingerprint: str
    stage: Stage
    reason: str
    detail: str
    first_ms: int
    last_ms: int
    sample: bytes
    redrivable: bool
    count: int = 0
    redriven: int = 0
    accounts: Counter[str] = field(default_factory=Counter)


async def read_rejects(settings: Settings) -> AsyncIterator[Kept]:
    """Yield all rejects that the topic holds now, by partition and offset."""
    async for record in read_topic(settings, REJECTED):
        try:
            reject = decode_rejected(record.value or b"")
        except msgspec.MsgspecError:
            continue  # not of this program's making: the lander keeps its bytes
        yield Kept(f"{record.partition}:{record.offset}", record.key, record.timestamp, reject)


async def read_redriven(settings: Settings) -> dict[str, str]:
    """Return the fingerprint by id of every reject that was redriven."""
    fingerprints = {}
    async for record in read_topic(settings, REDRIVEN):
        if record.key is not None and record.value is not None:
            fingerprints[record.key.decode()] = decode_redriven(record.value).fingerprint
    return fingerprints


async def list_groups(settings: Settings) -> list[RejectGroup]:
    """Return the groups of all rejects, the largest first."""
    redriven = await read_redriven(settings)
    groups: dict[str, RejectGroup] = {}
    async for kept in read_rejects(settings):
        reject = kept.reject
        group = groups.get(reject.fingerprint)
        if group is None:
            group = groups[reject.fingerprint] = RejectGroup(
                reject.fingerprint,
                reject.stage,
                reject.reason,
                reject.detail,
                kept.logged_ms,
                kept.logged_ms,
                reject.body[:_SAMPLE_BYTES],
                kept.redrivable,
            )
        group.count += 1
        group.first_ms = min(group.first_ms, kept.logged_ms)
        group.last_ms = max(group.last_ms, kept.logged_ms)
        group.redriven += kept.id in redriven
        group.accounts[reject.envelope.account if reject.envelope else ""] += 1
    return sorted(groups.values(), key=lambda group: (-group.count, group.fingerprint))
