"""Runs the whole worker as its own process, and feeds it items as the collector would."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from schemas import clock, topics
from schemas.raw import Envelope, to_headers
from schemas.settings import Settings
from streams.runtime.app import GROUP

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 120.0
PII_KEY = "worker-tests"


def until(holds: Callable[[], Any], what: str) -> Any:  # noqa: ANN401 - whatever was waited for
    """Return what ``holds`` returns once it is true."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < deadline_s, what
        time.sleep(0.2)
    return found


def environment(kafka: str, folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a command whose plan and rulebook are in a folder."""
    return {
        **os.environ,
        "SIYU_KAFKA": kafka,
        "SIYU_PII_KEY": PII_KEY,
        "SIYU_PLAN": str(folder / "plan.yaml"),
        "SIYU_RULEBOOK": str(folder / "rules.yaml"),
        "SIYU_REJECT_ALARM": "warn",
        "SIYU_WORKER_SESSION_TIMEOUT_S": "6",
        **more,
    }


def siyu(env: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "streams.commands.cli", *words],
        cwd=ROOT,
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@contextmanager
def worker(env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker until the end of the ``with``."""
    with process(env, log, "worker") as running:
        yield running


@contextmanager
def process(env: Mapping[str, str], log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of the command line until the end of the ``with``."""
    with log.open("ab") as stderr:
        running = subprocess.Popen(
            [sys.executable, "-m", "streams.commands.cli", *words],
            cwd=ROOT,
            env=dict(env),
            stderr=stderr,
            stdout=stderr,
        )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


class Feed:
    """Puts items on ``events.raw`` and reads what came of them."""

    def __init__(self, kafka: str) -> None:
        self.settings = Settings(kafka=kafka)
        self._producer = KafkaProducer(bootstrap_servers=kafka, acks="all")
        self._reader = KafkaConsumer(
            bootstrap_servers=kafka,
            group_id=GROUP,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )

    def send(
        self, items: list[dict[str, Any]], *, account: str, received_at_ms: int | None = None
    ) -> None:
        """Send Segment items of an account, acked."""
        for item in items:
            envelope = Envelope(
                door="segment",
                source="app",
                account=account,
                received_at_ms=received_at_ms or clock.now_ms(),
            )
            key, body = str(item.get("userId", "")).encode(), json.dumps(item).encode()
            self._producer.send(topics.RAW.name, body, key, headers=to_headers(envelope))
        self._producer.flush()

    def drained(self) -> bool:
        """Tell whether the worker has committed all of ``events.raw``, and then of ``events``."""
        return self._committed(topics.RAW) and self._committed(topics.EVENTS)

    def _committed(self, topic: topics.Topic) -> bool:
        # The end of the log may be a marker of a transaction, which nobody commits.
        behind = {(r.topic, r.partition): r.offset + 1 for r in self._records(topic)}
        return all(
            (self._reader.committed(TopicPartition(*tp)) or 0) >= offset
            for tp, offset in behind.items()
        )

    def read(self, topic: topics.Topic) -> list[bytes]:
        """Return the values of all committed records of a topic."""
        return [record.value for record in self._records(topic)]

    def read_records(self, topic: topics.Topic) -> list[Any]:
        """Return all committed records of a topic."""
        return self._records(topic)

    def _records(self, topic: topics.Topic) -> list[Any]:
        tps = self._partitions(topic.name)
        self._reader.assign(tps)
        self._reader.seek_to_beginning(*tps)
        ends = self._reader.end_offsets(tps)
        records: list[Any] = []
        while any(self._reader.position(tp) < end for tp, end in ends.items()):
            for batch in self._reader.poll(500).values():
                records += batch
        return records

    def close(self) -> None:
        """Let go of the broker."""
        self._producer.close()
        self._reader.close()

    def _partitions(self, topic: str) -> list[TopicPartition]:
        found = until(lambda: self._reader.partitions_for_topic(topic), f"topic {topic}")
        return [TopicPartition(topic, partition) for partition in sorted(found)]


def unique(stem: str) -> str:
    """Return a name that no other test has."""
    return f"{stem}_{uuid.uuid4().hex[:8]}"
