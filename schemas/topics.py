"""The one table of Kafka topics: name, key, payload, partitions, retention.

Topics that carry one user's records share a partition count, so that a user's
events, state, touches and receipts stay in the same partition number.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

DAY_MS: Final = 86_400_000
Cleanup = Literal["delete", "compact", "compact,delete"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; ``retention_ms`` of ``None`` keeps for ever, ``payload`` names the contract.

    ``partitions`` of ``None`` is the setting's; a number where the order of all records counts.
    """

    name: str
    key: str
    payload: str
    cleanup: Cleanup = "delete"
    retention_ms: int | None = 7 * DAY_MS
    transactional: bool = True
    config: dict[str, str] = field(default_factory=dict)
    partitions: int | None = None

    def broker_config(self) -> dict[str, str]:
        """Return the topic's configuration as the broker spells it."""
        config = {"cleanup.policy": self.cleanup, **self.config}
        if "delete" in self.cleanup:
            config["retention.ms"] = str(-1 if self.retention_ms is None else self.retention_ms)
        return config


# One record may hold a whole rejected body in base64 beside its envelope.
_BIG_RECORDS: Final = {"max.message.bytes": str(4 * 1024 * 1024)}
# A compacted topic is read from its start at each recovery: keep the dirty part short.
_STATE: Final = {"min.cleanable.dirty.ratio": "0.2", "segment.ms": str(DAY_MS // 24)}

RAW: Final = Topic(
    "events.raw",
    "source identifier",
    "schemas.raw.RawRecord",
    transactional=False,
    config=_BIG_RECORDS,
)
REJECTED: Final = Topic(
    "events.rejected",
    "source identifier",
    "schemas.rejects.Rejected",
    retention_ms=30 * DAY_MS,
    config=_BIG_RECORDS,
)
EVENTS: Final = Topic(
    "events", "user", "schemas.events.Event", retention_ms=30 * DAY_MS, config=_BIG_RECORDS
)
# What was redriven must stay known as long as a reject could be redriven again.
REDRIVEN: Final = Topic(
    "events.redriven",
    "reject id",
    "schemas.rejects.Redriven",
    cleanup="compact",
    retention_ms=None,
    config=_STATE,
)
TAGS: Final = Topic("tags", "user", "schemas.touches.TagChanges")
# The latest of each user alone, as a table is read; off by default, see docs/profiles.md.
PROFILES: Final = Topic(
    "profiles",
    "user",
    "schemas.profiles.Profile",
    cleanup="compact",
    retention_ms=None,
    config=_STATE,
)
DECISIONS: Final = Topic("decisions", "user", "schemas.touches.Decision")
TOUCHES: Final = Topic("touches", "user", "schemas.touches.Touch", transactional=False)
RECEIPTS: Final = Topic("receipts", "user", "schemas.touches.Receipt")
LEDGER: Final = Topic(
    "touches.ledger",
    "touch id",
    "sinks.touches.ledger.Entry",
    cleanup="compact,delete",
    retention_ms=90 * DAY_MS,
    config=_STATE,
)
INGEST_STATE: Final = Topic(
    "state.ingest",
    "source identifier",
    "packed state",
    cleanup="compact",
    retention_ms=None,
    config=_STATE,
)
ENGAGE_STATE: Final = Topic(
    "state.engage", "user", "packed state", cleanup="compact", retention_ms=None, config=_STATE
)

# Keys are version:<version>, applied:<partition of events>, refused:<worker>.
RULEBOOKS: Final = Topic(
    "rulebooks",
    "kind and name",
    "schemas.rulebooks.Pushed",
    cleanup="compact",
    retention_ms=None,
    config=_BIG_RECORDS | _STATE,
    partitions=1,
)

ALL: Final = (
    RAW,
    REJECTED,
    REDRIVEN,
    EVENTS,
    TAGS,
    PROFILES,
    DECISIONS,
    TOUCHES,
    RECEIPTS,
    LEDGER,
    INGEST_STATE,
    ENGAGE_STATE,
    RULEBOOKS,
)
