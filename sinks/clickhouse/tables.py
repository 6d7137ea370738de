"""The one table of what lands where: topic, contract, ClickHouse table, columns."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_origin

import msgspec

from schemas import topics
from schemas.events import Event
from schemas.rejects import Rejected
from schemas.touches import Decision, Receipt, TagChanges

# What DateTime64(3) holds: 1900-01-01 to 2299-12-31. Outside, the engine would bend it silently.
EpochMs = Annotated[int, msgspec.Meta(ge=-2_208_988_800_000, le=10_413_791_999_999)]
_Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]

PROVENANCE: Final = ("_partition", "_offset", "_logged_at")
Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One table: ``decode`` reads a record's value, ``rows`` makes its rows without provenance.

    ``rows`` raises ``msgspec.ValidationError`` for what cannot be rows. ``key`` tells a row from
    all others; where a record makes several, some ``rows_a_record``, it is more than the
    record's place on the log.
    """

    name: str
    topic: str
    columns: tuple[str, ...]
    decode: Callable[[bytes], Any]
    rows: Callable[[Any], Sequence[Values]]
    json_columns: frozenset[str] = frozenset()
    text_columns: frozenset[str] = frozenset()
    key: tuple[str, ...] = ("_partition", "_offset")
    rows_a_record: int = 1

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
        rows=_one,
        json_columns=frozenset(_column(f.name) for f in fields if f.type is msgspec.Raw),
        text_columns=frozenset(_column(f.name) for f in fields if f.type == str | None),
    )


def _one(record: Any) -> Sequence[Values]:  # noqa: ANN401 - any contract as landed
    return (msgspec.structs.astuple(record),)


class _LandedChanges(TagChanges, rename="camel", kw_only=True, gc=False):
    """Changes of tags whose values are columns of JSON: they go through as text, unread."""

    time_ms: EpochMs
    changes: Annotated[list[tuple[str, msgspec.Raw, msgspec.Raw]], msgspec.Meta(min_length=1)]


def _change_rows(record: _LandedChanges) -> Sequence[Values]:
    user, time_ms, message_id = record.user, record.time_ms, record.message_id
    if len({tag for tag, _, _ in record.changes}) < len(record.changes):
        raise msgspec.ValidationError("a tag stands twice in `changes`")
    return [
        (user, tag, before, after, time_ms, message_id) for tag, before, after in record.changes
    ]


def _reject_rows(rejected: Rejected) -> Sequence[Values]:
    return (reject_values(rejected),)


def reject_values(rejected: Rejected) -> Values:
    """Return the row of a reject without provenance; its topic stands last."""
    envelope = rejected.envelope
    return (
        rejected.stage,
        rejected.reason,
        rejected.detail,
        rejected.fingerprint,
        envelope.door if envelope else "",
        envelope.source if envelope else "",
        envelope.account if envelope else "",
        envelope.received_at_ms if envelope else None,
        envelope.request_id if envelope else "",
        envelope.item if envelope else 0,
        rejected.body,
        rejected.raw_partition,
        rejected.raw_offset,
        envelope.redrive_of if envelope else "",
        topics.REJECTED.name,
    )


EVENTS: Final = _table("events", topics.EVENTS, Event)
TAG_CHANGES: Final = Table(
    name="tag_changes",
    topic=topics.TAGS.name,
    columns=("user", "tag", "before", "after", "time", "message_id", *PROVENANCE),
    decode=msgspec.json.Decoder(_LandedChanges).decode,
    rows=_change_rows,
    json_columns=frozenset({"before", "after"}),
    key=("_partition", "_offset", "tag"),
    rows_a_record=8,
)
DECISIONS: Final = _table("decisions", topics.DECISIONS, Decision)
RECEIPTS: Final = _table("receipts", topics.RECEIPTS, Receipt)
REJECTS: Final = Table(
    name="rejects",
    topic=topics.REJECTED.name,
    columns=(
        "stage",
        "reason",
        "detail",
        "fingerprint",
        "door",
        "source",
        "account",
        "received_at",
        "request_id",
        "item",
        "body",
        "raw_partition",
        "raw_offset",
        "redrive_of",
        "_topic",
        *PROVENANCE,
    ),
    decode=msgspec.json.Decoder(Rejected).decode,
    rows=_reject_rows,
    key=("_topic", "_partition", "_offset"),
)
ALL: Final = (EVENTS, TAG_CHANGES, DECISIONS, RECEIPTS, REJECTS)
BY_TOPIC: Final = {table.topic: table for table in ALL}


def offsets_sql(topic: str) -> str:
    """Return a query of ``_partition, _offset, refused`` of all that a topic left in ClickHouse.

    That is its own table's rows, and the rejects made of records no row could be made of.
    """
    own = BY_TOPIC[topic]
    sources = {own.name: "1"} | {REJECTS.name: f"_topic = '{topic}'"}
    return " UNION ALL ".join(
        f"SELECT _partition, _offset, {int(name == REJECTS.name)} AS refused"  # noqa: S608 - names of this module only
        f" FROM {name} WHERE {condition}"
        for name, condition in sources.items()
    )
