"""Runs the touch sender as its own process against a real broker and a real receiver."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas import topics, touches
from schemas.touches import Receipt, Touch

ROOT = Path(__file__).resolve().parent.parent
# As the CLI does: a SiyuError's own status, any other fault Python's.
_MAIN = """
import sys
from schemas.errors import SiyuError
from schemas.settings import Settings
from sinks.touches.deliver import run
try:
    run(Settings())
except SiyuError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_status)
"""
PATIENCE_S = 90.0


def make_touch(via: list[str], **fields: Any) -> Touch:  # noqa: ANN401 - any field of a touch
    """Return a touch with a fresh id for one of many users."""
    touch_id = uuid.uuid4().hex
    known: dict[str, Any] = {
        "touch_id": touch_id,
        "rule": "cart_30m",
        "rule_version": "v1",
        "user": f"user_id:{touch_id[:3]}",
        "via": via,
        "template": "cart",
        "time_ms": 1_700_000_000_000,
        "properties": {"品类": "茶具"},
    }
    return Touch(**known | fields)


@dataclass
class Harness:
    """One test's processes and files."""

    kafka: str
    folder: Path
    webhook_url: str = ""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def record(self) -> Path:
        """Where the receiver writes its calls."""
        return self.folder / "calls.jsonl"

    def receiver(self, *arguments: str) -> None:
        """Start a receiver and note its address."""
        command = [sys.executable, "-m", "deploy.local.webhook_receiver"]
        command += ["--record", str(self.record), *arguments]
        process = subprocess.Popen(
            command, cwd=ROOT, env=self._environment(), stdout=subprocess.PIPE
        )
        self.running.append(process)
        assert process.stdout is not None
        self.webhook_url = json.loads(process.stdout.readline())["url"]
        process.stdout.close()

    def deliver(self, **settings: str) -> subprocess.Popen[bytes]:
        """Start a sender; ``settings`` are names of settings with their values."""
        given = {f"SIYU_{name.upper()}": value for name, value in settings.items()}
        with (self.folder / "deliver.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _MAIN],
                cwd=ROOT,
                env=self._environment() | given,
                stdout=log,
                stderr=log,
            )
        self.running.append(process)
        return process

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SIYU_")}
        kept |= {
            "SIYU_KAFKA": self.kafka,
            "SIYU_HOME": str(self.folder),
            "SIYU_WEBHOOK_SECRET": "of this test",
            "SIYU_WORKER_SESSION_TIMEOUT_S": "6",
            "SIYU_DELIVER_BACKOFF_S": "0.05",
            "SIYU_DELIVER_TIMEOUT_S": "2",
        }
        return kept | ({"SIYU_WEBHOOK_URL": self.webhook_url} if self.webhook_url else {})

    def send(self, *sent: Touch | bytes, partition: int | None = None) -> None:
        """Put touches, or bytes that are none, on the topic; returns when acked."""
        asyncio.run(_send(self.kafka, sent, partition))

    def read(self, topic: str) -> list[bytes]:
        """Return the committed values of a topic, from its start to its present end."""
        return asyncio.run(_read(self.kafka, topic))

    def receipts(self, sent: list[Touch]) -> list[Receipt]:
        """Return the committed receipts of these touches, as often as they stand there."""
        ids = {touch.touch_id for touch in sent}
        found = map(touches.decode_receipt, self.read(topics.RECEIPTS.name))
        return [receipt for receipt in found if receipt.touch_id in ids]

    def await_receipts(self, sent: list[Touch]) -> None:
        """Wait until each touch has a receipt."""
        until = time.monotonic() + PATIENCE_S
        while len({r.touch_id for r in self.receipts(sent)}) < len(sent):
            assert time.monotonic() < until, f"receipts missing\n{self.log()}"
            time.sleep(0.3)

    def await_calls(self, sent: list[Touch]) -> None:
        """Wait until the receiver has had a call."""
        until = time.monotonic() + PATIENCE_S
        while not self.calls(sent):
            assert time.monotonic() < until, f"no call came\n{self.log()}"
            time.sleep(0.02)

    def settled(self, sent: list[Touch], process: subprocess.Popen[bytes]) -> dict[str, Receipt]:
        """Wait for all receipts, stop the sender cleanly, check one receipt a touch."""
        self.await_receipts(sent)
        self.stop(process)
        receipts = self.receipts(sent)
        counted = Counter(receipt.touch_id for receipt in receipts)
        assert {i: n for i, n in counted.items() if n > 1} == {}, "more than one receipt"
        assert {touch.touch_id for touch in sent} == set(counted), "receipts missing"
        return {receipt.touch_id: receipt for receipt in receipts}

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Stop with SIGTERM; a clean sender ends with 0."""
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, self.log()

    def await_end(self, process: subprocess.Popen[bytes]) -> int:
        """Return the status with which the process ended by itself."""
        return process.wait(PATIENCE_S)

    def calls(self, sent: list[Touch]) -> list[dict[str, Any]]:
        """Return the receiver's calls for these touches."""
        if not self.record.exists():
            return []
        ids = {touch.touch_id for touch in sent}
        lines = map(json.loads, self.record.read_text("utf-8").splitlines())
        return [line for line in lines if line["idempotency_key"] in ids]

    def effects(self, sent: list[Touch]) -> Counter[str]:
        """Return how often each touch reached its user."""
        return Counter(c["idempotency_key"] for c in self.calls(sent) if c["effect"])

    def log(self) -> str:
        """Return the senders' output."""
        return (self.folder / "deliver.log").read_text("utf-8", "replace")


@contextmanager
def harness(kafka: str, folder: Path) -> Iterator[Harness]:
    """Give a harness with its topics there; end its processes after."""
    asyncio.run(_create_topics(kafka))
    one = Harness(kafka, folder)
    try:
        yield one
    finally:
        for process in one.running:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


async def _send(kafka: str, sent: tuple[Touch | bytes, ...], partition: int | None) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        acks = []
        for one in sent:
            value = one if isinstance(one, bytes) else touches.encode(one)
            key = b"" if isinstance(one, bytes) else one.user.encode()
            acks.append(await producer.send(topics.TOUCHES.name, value, key, partition=partition))
        await asyncio.gather(*acks)


async def _read(kafka: str, topic: str) -> list[bytes]:
    # To the end of all records: one that is committed a moment ago may not be readable yet.
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka) as consumer:
        ends = await consumer.end_offsets(sorted(consumer.assignment()))
    values = []
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    ) as consumer:
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                values += [record.value for record in records]
    return values


async def _create_topics(kafka: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        needed = (topics.TOUCHES, topics.LEDGER, topics.RECEIPTS, topics.REJECTED, topics.EVENTS)
        missing = [topic for topic in needed if topic.name not in present]
        if missing:
            await admin.create_topics(
                [NewTopic(t.name, 4, 1, topic_configs=t.broker_config()) for t in missing]
            )
    finally:
        await admin.close()
