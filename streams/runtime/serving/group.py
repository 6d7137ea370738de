"""The workers' consumer group as the broker describes it: its members and their addresses."""

import json
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from yarl import URL

from schemas.errors import no_broker
from schemas.settings import Settings
from streams.kafka_client.cluster import user_data_of

GROUP: Final = "siyu-worker"
# Where look-ups are served, at the end of the address in a member's subscription.
USERS_PATH: Final = "/users"


async def addresses(settings: Settings) -> list[str]:
    """Return the addresses of the workers that serve look-ups.

    Raises ``PartMissing`` where the broker does not answer.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await admin.start()
        (answer,) = await admin.describe_consumer_groups([GROUP])
    except GroupCoordinatorNotAvailableError:
        return []  # a new broker: there was no group yet
    except KafkaError as down:
        raise no_broker(settings.kafka, down) from down
    finally:
        await admin.close()
    urls = {_address(member[3]) for group in answer.groups for member in group[5]}
    return sorted(urls - {""})


def _address(packed: bytes) -> str:
    """Return the address in a member's subscription; empty if it serves no look-ups."""
    try:
        user_data = json.loads(user_data_of(packed))
        url = str(user_data["url"])
    except (ValueError, KeyError, TypeError):
        return ""
    return url if URL(url).path == USERS_PATH else ""
