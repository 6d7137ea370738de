"""Lands small histories on a real ClickHouse and asks the questions of analysts about them."""

from typing import Any

from schemas.events import encode_event
from schemas.settings import Settings
from sinks.clickhouse.query import run_query
from sinks.clickhouse.rows import build_parts, span_of
from sinks.clickhouse.writer import Writer
from tests.land_harness import Logged, make_event

DAY_MS = 86_400_000
NOON_MS = 1_767_240_000_000  # Thursday 2026-01-01, 12:00 in Shanghai


def happened(user: str, event: str, days: float = 0, /, **fields: Any) -> bytes:  # noqa: ANN401 - any field of an event
    """Return an event of a user, so many days after the first noon, without properties."""
    known: dict[str, Any] = {
        "user": f"user_id:{user}",
        "event": event,
        "timestamp_ms": NOON_MS + round(days * DAY_MS),
        "source": "app",
        "identities": {"user_id": user},
        "properties": {},
        "context": {},
    }
    return encode_event(make_event(0, **known | fields))


def paid(user: str, days: float, amount: float, event: str = "order_paid") -> bytes:
    """Return an order of a user, or a refund."""
    return happened(user, event, days, properties={"amount": amount})


def land(settings: Settings, topic: str, values: list[bytes]) -> None:
    """Insert records as the lander does."""
    writer = Writer(settings)
    records = [Logged(offset, value, NOON_MS) for offset, value in enumerate(values)]
    for part in build_parts(span_of(topic, 0, records), records):
        writer.insert(part)
    writer.close()


def ask(settings: Settings, name: str, **params: str) -> list[dict[str, Any]]:
    """Return the rows of a question by column."""
    answer = run_query(settings, name, params)
    return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]


def table(settings: Settings, name: str, columns: str, **params: str) -> list[tuple[Any, ...]]:
    """Return some columns of a question's rows."""
    return [tuple(row[c] for c in columns.split()) for row in ask(settings, name, **params)]
