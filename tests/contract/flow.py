"""The whole flow as its own processes on the session's stack, and what has landed of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from clickhouse_driver import Client

from schemas.settings import Settings
from sinks.clickhouse.migrate import migrate
from streams.commands.broker import ensure_topics
from tests.collect_harness import PATIENCE_S, ROOT, Edge, collector, ready, until

COLUMNS = (
    "message_id",
    "event",
    "timestamp",
    "source",
    "door",
    "user",
    "user_id",
    "anonymous_id",
    "identities",
    "context",
    "properties",
    "traits",
    "marks",
    "channel",
)
Part = tuple[subprocess.Popen[bytes], Path]
_JSON = ("context", "properties", "traits")


class Flow:
    """Collector, worker and lander, and a client that sees what they made."""

    def __init__(self, edge: Edge, settings: Settings, parts: dict[str, Part]) -> None:
        self.edge, self.url, self._parts = edge, edge.url, parts
        self.pii_key = settings.pii_key.get_secret_value().encode()
        self._client = Client.from_url(settings.clickhouse)
        self.asked: dict[tuple[str, str], int] = {}

    def rows(self, value: str, kind: str = "user_id") -> list[dict[str, Any]]:
        """Return the landed events of a user, by one identifier."""
        query = f"SELECT {', '.join(COLUMNS)} FROM events WHERE user = %(user)s ORDER BY timestamp"  # noqa: S608 - our own names
        found = self._client.execute(query, {"user": f"{kind}:{value}"})
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in found]
        return [{**row, **{name: json.loads(row[name]) for name in _JSON}} for row in rows]

    def landed(self, value: str, count: int, kind: str = "user_id") -> list[dict[str, Any]]:
        """Wait for so many events of a user; fails if there are fewer, more, or one is twice."""
        deadline_s = time.monotonic() + 2 * PATIENCE_S
        while len(rows := self.rows(value, kind)) < count and time.monotonic() < deadline_s:
            for part, log in self._parts.values():
                assert part.poll() is None, log.read_text("utf-8")[-4000:]
            time.sleep(0.2)
        told = f"{len(rows)} of {count}; rejected: {self._rejected()}"
        assert len(rows) == len({row["message_id"] for row in rows}) == count, told
        self.asked[kind, value] = count
        return rows

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()

    def _rejected(self) -> list[tuple[Any, ...]]:
        query = "SELECT stage, reason, detail, count() FROM rejects GROUP BY ALL LIMIT 20"
        found: list[tuple[Any, ...]] = self._client.execute(query)
        return found


@contextmanager
def running(folder: Path) -> Iterator[Flow]:
    """Run the flow until the end of the ``with``; SIYU_HOME names a stack that is up."""
    settings = Settings()
    ensure_topics(settings)
    migrate(settings)
    with ExitStack() as stack:
        edge = stack.enter_context(collector(settings.kafka, folder))
        names = ("worker", "land")
        parts = {name: stack.enter_context(_process(name, folder)) for name in names}
        until(lambda: ready(edge), "the edge is ready")
        flow = Flow(edge, settings, parts)
        stack.callback(flow.close)
        yield flow


@contextmanager
def _process(name: str, folder: Path) -> Iterator[Part]:
    log = folder / f"{name}.log"
    argv = [sys.executable, "-m", "streams.commands.cli", name]
    with log.open("ab") as told:
        process = subprocess.Popen(argv, cwd=ROOT, stderr=told, stdout=told, env=dict(os.environ))
    try:
        yield process, log
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
