"""The broker: topics made from the one table in ``schemas.topics``, and its known faults."""

from typing import Final

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from schemas.errors import no_broker
from schemas.settings import Settings
from schemas.topics import ALL

# The newest metadata.version that a broker of 4.2 supports, as it reports it; those of
# 4.3 and 4.4 have the fault of docs/decisions/broker-version.md.
_LAST_GOOD_METADATA: Final = 29


def ensure_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing; returns their names. Raises ``PartMissing``."""
    admin = _admin(settings)
    try:
        present = set(admin.list_topics())
        missing = [topic for topic in ALL if topic.name not in present]
        for topic in missing:
            new = NewTopic(
                topic.name,
                topic.partitions or settings.partitions,
                settings.replication,
                topic_configs=topic.broker_config(),
            )
            try:
                admin.create_topics([new])
            except TopicAlreadyExistsError:
                continue  # another process was faster
    finally:
        admin.close()
    return [topic.name for topic in missing]


def known_fault(settings: Settings) -> str | None:
    """Return what is known to be wrong with this broker's transactions. Raises ``PartMissing``."""
    admin = _admin(settings)
    try:
        newest = admin.describe_features().get("metadata.version", {}).get("supported", (0, 0))[1]
    except KafkaError:
        # A broker that cannot list its features is older, or no Apache Kafka.
        return None
    finally:
        admin.close()
    if newest <= _LAST_GOOD_METADATA:
        return None
    return (
        "this broker is Kafka 4.3 or newer: a transaction that ends while one of its partitions"
        " has no leader can lose its markers, and be replayed; 4.2 does not"
        " (docs/decisions/broker-version.md)"
    )


def _admin(settings: Settings) -> KafkaAdminClient:
    try:
        return KafkaAdminClient(bootstrap_servers=settings.kafka)
    except KafkaError as down:
        raise no_broker(settings.kafka, down) from down
