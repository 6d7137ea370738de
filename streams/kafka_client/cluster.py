"""What the broker knows of topics and of a group's members."""

from collections.abc import Set as AbstractSet

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata


async def fetch_partitions(consumer: AIOKafkaConsumer, topic: str) -> AbstractSet[int]:
    """Return the partitions of a topic, empty if it is not there; raises aiokafka's errors.

    aiokafka 0.14: the public ``topics()`` fetches the same and forgets it, and
    ``partitions_for_topic()`` knows assigned topics only.
    """
    cluster = await consumer._client.fetch_all_metadata()
    partitions: set[int] | None = cluster.partitions_for_topic(topic)
    return partitions or set()


def user_data_of(member_metadata: bytes) -> bytes:
    """Return what a group's member says of itself in its subscription.

    aiokafka 0.14 hands out ``describe_consumer_groups`` undecoded. Raises ``ValueError`` for
    bytes that are no subscription.
    """
    user_data: bytes = ConsumerProtocolMemberMetadata.decode(member_metadata).user_data
    return user_data
