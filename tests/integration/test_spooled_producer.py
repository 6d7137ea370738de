import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import BrokerUnavailable
from schemas.settings import Settings
from streams.commands.broker import ensure_topics
from streams.sources.producer.producer import SiyuProducer
from tests.collect_harness import ROOT, Stored, Tap, free_port

pytestmark = pytest.mark.integration
SENDER = """
import os, sys
from pathlib import Path
from streams.sources.producer import SiyuProducer
kafka, folder, user = sys.argv[1:]
producer = SiyuProducer(kafka, source="server", account="x", spool=Path(folder), timeout_s=2)
for number in range(10**9):
    producer.track(user, "e", message_id=str(number))
    os.write(1, b"%d\\n" % number)
"""


@pytest.fixture
def tap(kafka: str) -> Iterator[Tap]:
    ensure_topics(Settings(kafka=kafka))
    made = Tap(kafka)
    yield made
    made.close()


def ids_of(raw: list[Stored], user: str) -> list[int]:
    return [
        int(json.loads(record.value)["messageId"])
        for record in raw
        if record.key == f"user_id:{user}".encode()
    ]


def spooled(kafka: str, folder: Path, **more: int) -> SiyuProducer:
    return SiyuProducer(kafka, source="server", account="x", spool=folder, timeout_s=1, **more)


def nowhere() -> str:
    return f"127.0.0.1:{free_port()}"


def test_what_was_taken_while_the_broker_was_away_comes_in_order_once_it_is_there(
    kafka: str, tmp_path: Path, tap: Tap
) -> None:
    user = uuid.uuid4().hex
    with spooled(nowhere(), tmp_path) as producer:
        for number in range(500):
            producer.track(user, "e", message_id=str(number))
        with pytest.raises(BrokerUnavailable, match="wait in the spool"):
            producer.flush()
    assert tap.look()[0] == []
    with SiyuProducer(kafka, source="server", account="x", spool=tmp_path) as producer:
        producer.track(user, "e", message_id="500")
        producer.flush()
    raw, _ = tap.look()
    assert ids_of(raw, user) == list(range(501))
    assert {record.envelope.door for record in raw} == {"native"}


def test_a_full_spool_is_told_and_what_it_took_is_kept(
    kafka: str, tmp_path: Path, tap: Tap
) -> None:
    user, taken = uuid.uuid4().hex, 40
    with spooled(nowhere(), tmp_path, spool_max_bytes=20_000) as producer:
        for number in range(taken):
            producer.track(user, "e", message_id=str(number))
        with pytest.raises(BrokerUnavailable, match="spool is full"):
            producer.track(user, "e", {"pad": "x" * 20_000})
    with SiyuProducer(kafka, source="server", account="x", spool=tmp_path) as producer:
        producer.flush()
    assert ids_of(tap.look()[0], user) == list(range(taken))


@pytest.mark.faults
@pytest.mark.parametrize("away", [True, False])
def test_kill_9_of_the_service_loses_no_event_that_was_taken(
    kafka: str, tmp_path: Path, tap: Tap, *, away: bool
) -> None:
    user = uuid.uuid4().hex
    child = subprocess.Popen(
        [sys.executable, "-c", SENDER, nowhere() if away else kafka, str(tmp_path), user],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(2000)]
    child.send_signal(signal.SIGKILL)
    told += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    last = int([line for line in told if line.endswith(b"\n")][-1])
    with SiyuProducer(kafka, source="server", account="x", spool=tmp_path) as producer:
        producer.flush()
    found = ids_of(tap.look()[0], user)
    # Each arrived, first sightings in order; a walk that was cut short may come twice.
    assert list(dict.fromkeys(found))[: last + 1] == list(range(last + 1))
    assert len(found) - len(set(found)) <= 200
