"""Which user has an identity: an index for each partition, made when it is first asked for.

It is made of the states and then follows what the agent writes. It holds a hash of each
identity that is not the user's own key (about 100 bytes each); what it finds is checked against
the state, so a hash that two identities share can hide one of them, never name a wrong user.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from schemas.errors import SiyuError
from streams.runtime.lanes.lane import PartitionLane

log = structlog.get_logger()

# Between two slices the loop is free for batches: a slice takes about a millisecond.
_SLICE: Final = 200
Identities = Callable[[bytes], Mapping[str, str]]


class _Part:
    """The index of one lane."""

    __slots__ = ("lane", "task", "users", "whole")

    def __init__(self, lane: PartitionLane) -> None:
        self.lane = lane
        self.users: dict[int, bytes] = {}
        self.whole = False
        self.task: asyncio.Task[None] | None = None

    @property
    def failed(self) -> bool:
        """Tell whether it came to an end without being whole."""
        return self.task is not None and self.task.done() and not self.whole


class Directory:
    """Indexes of the lanes that this worker holds."""

    def __init__(self, identities_of: Identities) -> None:
        self._identities_of = identities_of
        self._parts: dict[int, _Part] = {}

    def note(self, partition: int, key: bytes, identities: Mapping[str, str]) -> None:
        """Index a user who was just written, if anybody has asked for this partition."""
        part = self._parts.get(partition)
        if part is not None:
            _add(part.users, key, identities)

    def __len__(self) -> int:
        return sum(len(part.users) for part in self._parts.values())

    async def ready(self, lane: PartitionLane, timeout_s: float) -> bool:
        """Index a lane if it is not yet; say whether it is indexed within *timeout_s*."""
        part = self._parts.get(lane.partition)
        if part is None or part.lane is not lane or part.failed:
            if part is not None and part.task is not None:
                part.task.cancel()
            part = self._parts[lane.partition] = _Part(lane)
            part.task = asyncio.create_task(self._fill(part))
        if part.task is not None and not part.task.done():
            await asyncio.wait({part.task}, timeout=timeout_s)
        return part.whole

    def find(self, lane: PartitionLane, identity: str) -> bytes | None:
        """Return the key of the user of this lane who has an identity."""
        part = self._parts.get(lane.partition)
        key = part.users.get(hash(identity)) if part is not None and part.lane is lane else None
        packed = lane.get(key) if key is not None else None
        if key is None or packed is None:
            return None
        kind, _, value = identity.partition(":")
        return key if self._identities_of(packed).get(kind) == value else None

    def keep_only(self, lanes: list[PartitionLane]) -> None:
        """Forget the partitions that are no longer here."""
        here = {lane.partition: lane for lane in lanes}
        for partition, part in list(self._parts.items()):
            if here.get(partition) is not part.lane:
                if part.task is not None:
                    part.task.cancel()
                del self._parts[partition]

    async def _fill(self, part: _Part) -> None:
        keys, unread = part.lane.shard.keys(), 0
        while some := list(itertools.islice(keys, _SLICE)):
            for key in some:
                packed = part.lane.get(key)
                try:
                    identities = self._identities_of(packed) if packed is not None else {}
                except SiyuError:
                    unread += 1
                    continue
                _add(part.users, key, identities, over=False)
            await asyncio.sleep(0)
        if unread:
            log.warning("states without an index", partition=part.lane.partition, users=unread)
        part.whole = True


def _add(
    users: dict[int, bytes], key: bytes, identities: Mapping[str, str], *, over: bool = True
) -> None:
    own = key.decode("utf-8", "replace")
    for kind, value in identities.items():
        identity = f"{kind}:{value}"
        if identity != own and (over or hash(identity) not in users):
            users[hash(identity)] = key
