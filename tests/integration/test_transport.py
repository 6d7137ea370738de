"""The transport in an ordinary Faust app, without lanes."""

import subprocess
import sys
import time
import tomllib
import uuid
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from schemas.settings import ROOT
from streams.runtime.faust_adapter.transport import MicroBatchTransport

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).parents[1] / "faults" / "plain_worker.py"
DEADLINE_S = 60.0


def test_the_entry_point_of_the_package_names_the_transport() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    entry = project["entry-points"]["faust.transports"]["siyu"]
    assert EntryPoint("siyu", entry, "faust.transports").load() is MicroBatchTransport


def _wait(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_commits_follow_done_work_and_never_pass_what_is_not(
    kafka: str, kafka_admin: KafkaAdminClient, tmp_path: Path
) -> None:
    prefix = f"plain-{uuid.uuid4().hex[:8]}"
    topics = [f"{prefix}.batched", f"{prefix}.single"]
    kafka_admin.create_topics([NewTopic(name, 1, 1) for name in topics])
    producer = KafkaProducer(bootstrap_servers=kafka)
    reader = KafkaConsumer(bootstrap_servers=kafka, group_id=f"{prefix}.group")

    def committed(topic: str) -> int:
        return reader.committed(TopicPartition(topic, 0)) or 0

    def send(values: list[bytes]) -> None:
        for topic in topics:
            for value in values:
                producer.send(topic, value)
        producer.flush()

    log = tmp_path / "finished"
    with log.open("wb") as out:
        worker = subprocess.Popen([sys.executable, str(PROGRAM), kafka, prefix], stdout=out)
    try:
        send([b"x"] * 50)
        for topic in topics:
            _wait(f"{topic}: all 50 committed", partial(lambda t: committed(t) == 50, topic))
        send([b"stick"])
        # Both agents hold theirs, so the next records come in a batch of their own.
        _wait("both are stuck", lambda: log.read_text().count("stuck") == 2)
        send([b"x"] * 20)
        # With two coroutines the other one finishes most of what came after the stuck record.
        _wait("later records are finished", lambda: log.read_text().count("single") >= 60)
        # A commit past the stuck records would take an interval of 0.3 s or two to show.
        time.sleep(2.0)
        assert [committed(topic) for topic in topics] == [50, 50]
    finally:
        worker.kill()
        worker.wait()
        producer.close()
        reader.close()
        kafka_admin.delete_topics(topics)
