"""Committed offsets with their metadata, and commits that hold for one generation of a group.

aiokafka 0.14 has no public way to the metadata of a committed offset (``committed()`` leaves it
out) nor to the generation, and its ``commit()`` waits for a lock: if the session is lost
meanwhile it commits as a client without a group, which the broker takes while the group is
empty, or as a member of the next generation. Either would turn an offset back, or wipe what
a successor wrote there. Hence the coordinator's own methods.
"""

from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.errors import IllegalGenerationError


class Membership(NamedTuple):
    """What a consumer is in its group at the moment; another one after each rebalance."""

    generation: int
    member_id: str


def membership_of(consumer: AIOKafkaConsumer) -> Membership:
    """Return the membership of a started consumer with a group; generation -1 outside of it."""
    coordinator = consumer._coordinator
    return Membership(coordinator.generation, coordinator.member_id)


async def fetch_committed(
    consumer: AIOKafkaConsumer, at: TopicPartition
) -> OffsetAndMetadata | None:
    """Return what the consumer's group has committed for a partition, ``None`` if nothing.

    Raises aiokafka's errors. Needs ``offset_fetch.mend_offset_fetch``: without it a
    coordinator that is loading says "nothing".
    """
    committed = await consumer._coordinator.fetch_committed_offsets([at])
    return committed.get(at)


async def commit_in_generation(
    consumer: AIOKafkaConsumer,
    at: TopicPartition,
    commit: OffsetAndMetadata,
    *,
    generation: int,
    member_id: str | None = None,
) -> None:
    """Commit an offset as a member of one generation (and with this id, if given), or of none.

    Raises ``IllegalGenerationError`` if the group has moved on, and aiokafka's other errors.
    """
    coordinator = consumer._coordinator
    await coordinator.ensure_coordinator_known()
    # Nothing may be awaited from here until the request is made.
    now = membership_of(consumer)
    if now.generation != generation or member_id not in (None, now.member_id):
        raise IllegalGenerationError(f"{at}: generation {generation} is over")
    await coordinator._do_commit_offsets(None, {at: commit})
