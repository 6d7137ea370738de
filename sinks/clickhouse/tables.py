"""The one table of what lands where: topic, contract, ClickHouse table, columns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_origin

import msgspec

from schemas import topics
from schemas.events import Event
from schemas.rejects import Rejected
from schemas.touches import Decision, Receipt, TagChange

# What DateTime64(3) holds: 1900-01-01 to 2299-12-31. Outside, the engine would bend it silently.
EpochMs = Annotated[int, msgspec.Meta(ge=-2_208_988_800_000, le=10_413_791_999_999)]
_Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]

PROVENANCE: Final = ("_partition", "_offset", "_logged_at")
Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One table: ``decode`` reads a record's value, ``values`` makes the row without provenance."""

    name: str
    topic: str
    columns: tuple[str, ...]
    decode: Callable[[bytes], Any]
    values: Callable[[Any], Values]
    json_columns: frozenset[str] = frozenset()
    text_columns: frozenset[str] = frozenset()

    def insert_sql(self, columns: Iterable[str] | None = None) -> str:
        """Return the INSERT that the writer sends; without some columns, they take defaults."""
        return f"INSERT INTO {self.name} ({', '.join(columns or self.columns)}) VALUES"


def _narrow(name: str, annotation: Any) -> Any:  # noqa: ANN401 - a type, of any form
    """Return the type that a landed field is decoded as: as narrow as its column."""
    if annotation is Any or annotation is dict or get_origin(annotation) is dict:
        # JSON goes through as text, unread; identities are a map of strings and stay one.
        return msgspec.Raw if name != "identities" else dict[str, str]
    if name.endswith("_ms"):
        return EpochMs if annotation is int else EpochMs | None
    if annotation is int:
        return {"raw_partition": _Int32, "raw_offset": _Int64}.get(name, _UInt32)
    # Lists of objects are JSON columns; lists of marks are arrays.
    return msgspec.Raw if annotation == list[dict[str, Any]] else annotation


def _landed(contract: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the contract as the lander reads it: the same wire names, columns' types."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(contract):
        narrowed = _narrow(field.name, field.type)
        if field.default is not msgspec.NODEFAULT:
            default: Any = field.default
        elif field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        else:
            fields.append((field.name, narrowed))
            continue
        raw = msgspec.Raw(msgspec.json.encode(default)) if narrowed is msgspec.Raw else default
        fields.append((field.name, narrowed, raw))
    return msgspec.defstruct(
        f"Landed{contract.__name__}", fields, rename="camel", kw_only=True, gc=False
    )


def _column(field: str) -> str:
    return field.removesuffix("_ms")


def _table(name: str, topic: topics.Topic, contract: type[msgspec.Struct]) -> Table:
    landed = _landed(contract)
    fields = msgspec.structs.fields(landed)
    return Table(
        name=name,
        topic=topic.name,
        columns=(*(_column(field.name) for field in fields), *PROVENANCE),
        decode=msgspec.json.Decoder(landed).decode,
        values=msgspec.structs.astuple,
        json_columns=frozenset(_column(f.name) for f in fields if f.type is msgspec.Raw),
        text_columns=frozenset(_column(f.name) for f in fields if f.type == str | None),
    )


def _reject_values(rejected: Rejected) -> Values:
    envelope = rejected.envelope
    return (
        rejected.stage, rejected.reason, rejected.detail, rejected.fingerprint,
        envelope.door if envelope else "",
        envelope.source if envelope else "",
        envelope.account if envelope else "",
        envelope.received_at_ms if envelope else None,
        envelope.request_id if envelope else "",
        envelope.item if envelope else 0,
        rejected.body, rejected.raw_partition, rejected.raw_offset,
        envelope.redrive_of if envelope else "", topics.REJECTED.name,
    )  # fmt: skip


EVENTS: Final = _table("events", topics.EVENTS, Event)
TAG_CHANGES: Final = _table("tag_changes", topics.TAGS, TagChange)
DECISIONS: Final = _table("decisions", topics.DECISIONS, Decision)
RECEIPTS: Final = _table("receipts", topics.RECEIPTS, Receipt)
REJECTS: Final = Table(
    name="rejects",
    topic=topics.REJECTED.name,
    columns=(
        "stage", "reason", "detail", "fingerprint", "door", "source", "account", "received_at",
        "request_id", "item", "body", "raw_partition", "raw_offset", "redrive_of", "_topic",
        *PROVENANCE,
    ),
    decode=msgspec.json.Decoder(Rejected).decode,
    values=_reject_values,
)  # fmt: skip
ALL: Final = (EVENTS, TAG_CHANGES, DECISIONS, RECEIPTS, REJECTS)
BY_TOPIC: Final = {table.topic: table for table in ALL}


def offsets_sql(topic: str) -> str:
    """Return a query of ``_partition, _offset`` of all that a topic left in ClickHouse.

    That is its own table's rows, and the rejects made of records no row could be made of.
    """
    own = BY_TOPIC[topic]
    sources = {own.name: "1"} | {REJECTS.name: f"_topic = '{topic}'"}
    return " UNION ALL ".join(
        f"SELECT _partition, _offset FROM {name} WHERE {condition}"  # noqa: S608 - names of this module only
        for name, condition in sources.items()
    )
