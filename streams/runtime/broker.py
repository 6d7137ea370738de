"""Topics on the broker: made from the one table in ``schemas.topics``."""

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from schemas.errors import PartMissing
from schemas.settings import Settings
from schemas.topics import ALL


def ensure_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing; returns their names. Raises ``PartMissing``."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    except KafkaError as down:
        raise PartMissing(
            "kafka",
            f"{settings.kafka} does not answer ({down!r})",
            remedy="run `./siyu up`, or set SIYU_KAFKA to a running broker",
        ) from down
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
