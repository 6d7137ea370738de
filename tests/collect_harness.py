"""Runs the HTTP edge as its own process, and watches the topics that it writes."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kafka import KafkaConsumer, TopicPartition

from schemas import topics
from schemas.raw import Envelope, from_headers
from schemas.rejects import Rejected, decode_rejected

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60.0
APPID = "wx5iyu0test0000000"
CORPID = "ww5iyu0test0000000"
SECRET = "s3cret-of-the-order-service"
TOKEN = "AAAAA"
OLD_AES = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
NEW_AES = "GFEDCBA9876543210zyxwvutsrqponmlkjihgfedcba"
SOURCES = f"""
write_keys:
  k-app: {{source: app, name: app}}
  k-mini: {{source: mini_program, name: mini}}
  k-web: {{source: web, name: web}}
  k-server: {{source: server, name: orders, secret: {SECRET}}}
  k-slow: {{source: app, name: slow, limit: {{per_s: 0.01, burst: 2}}}}
  k-slow-mini: {{source: mini_program, name: slow mini, limit: {{per_s: 0.01, burst: 2}}}}
wechat:
  {APPID}:
    name: acc
    token: {TOKEN}
    aes_keys: [{NEW_AES}, {OLD_AES}]
    replies: [{{keyword: 优惠, match: contains, text: 券在这里}}]
  wxsealed: {{name: sealed, token: {TOKEN}, aes_keys: [{NEW_AES}], aes_only: true}}
strangers: {{per_s: 1000000, burst: 1000000}}
wecom:
  {CORPID}: {{name: company, token: {TOKEN}, aes_keys: [{NEW_AES}]}}
"""


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Dropped(Exception):
    """The edge closed the connection without an answer, or is not there."""


@dataclass
class Answer:
    """What the edge said."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Edge:
    """A running collector."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; raises ``Dropped`` if there is no answer."""
        link = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE_S)
        try:
            link.request(method, path, body, dict(headers or {}))
            answer = link.getresponse()
            return Answer(answer.status, answer.read(), dict(answer.getheaders()))
        except ConnectionError as gone:  # http.client's RemoteDisconnected is one of them
            raise Dropped(path) from gone
        finally:
            link.close()

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one POST."""
        return self.ask("POST", path, body, headers)


@contextmanager
def collector(kafka: str, folder: Path, **env: str) -> Iterator[Edge]:
    """Run a collector until the end of the ``with``; extra settings as environment."""
    sources = folder / "sources.yaml"
    sources.write_text(SOURCES, "utf-8")
    port = free_port()
    log = folder / "collect.log"
    with log.open("ab") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.commands.cli", "collect"],
            cwd=ROOT,
            stderr=told,
            env={
                **os.environ,
                "SIYU_KAFKA": kafka,
                "SIYU_SOURCES": str(sources),
                "SIYU_COLLECT_PORT": str(port),
                **env,
            },
        )
    edge = Edge(port, process, log)
    try:
        until(lambda: _alive(edge), "the collector serves")
        yield edge
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def until(holds: Callable[[], object], what: str) -> None:
    """Wait until ``holds()``; fails the test if it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def ready(edge: Edge) -> bool:
    """Tell if the edge says that it can store."""
    return edge.ask("GET", "/readyz").status == 200


def _alive(edge: Edge) -> bool:
    assert edge.process.poll() is None, edge.log.read_text("utf-8")
    try:
        return edge.ask("GET", "/healthz").status == 200
    except Dropped:
        return False


@dataclass(frozen=True)
class Stored:
    """A record of ``events.raw``."""

    partition: int
    key: bytes
    value: bytes
    envelope: Envelope


class Tap:
    """Reads what came to both topics since it was made (or from their start), look by look."""

    def __init__(self, kafka: str, *, from_start: bool = False) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        self._places = [
            TopicPartition(topic.name, number)
            for topic in (topics.RAW, topics.REJECTED)
            for number in sorted(self._consumer.partitions_for_topic(topic.name) or ())
        ]
        self._consumer.assign(self._places)
        if from_start:
            self._consumer.seek_to_beginning()
        else:
            self._consumer.seek_to_end()
        for place in self._places:
            self._consumer.position(place)

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def look(self) -> tuple[list[Stored], list[Rejected]]:
        """Return all that came since: the edge has answered, so what it stored is there."""
        raw: list[Stored] = []
        rejects: list[Rejected] = []
        ends = self._consumer.end_offsets(self._places)
        deadline = time.monotonic() + PATIENCE_S
        while any(self._consumer.position(place) < ends[place] for place in self._places):
            assert time.monotonic() < deadline, "the topics cannot be read to their end"
            for place, records in self._consumer.poll(timeout_ms=200).items():
                for record in records:
                    if place.topic == topics.REJECTED.name:
                        rejects.append(decode_rejected(record.value))
                    else:
                        raw.append(_stored(record))
        return raw, rejects


def _stored(record: Any) -> Stored:  # noqa: ANN401 - kafka-python's record
    envelope = from_headers(record.headers)
    assert envelope is not None
    return Stored(record.partition, record.key, record.value, envelope)
