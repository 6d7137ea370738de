"""Topics of one run on the session's broker, and a second broker that tests may kill."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from deploy.local import kafka as local_kafka
from deploy.local.process import Process
from deploy.progress import QUIET
from tests.faults.harness import PARTITIONS, Run


class SpareBroker:
    """A broker with a home of its own, so that the session's is not disturbed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process = Process(local_kafka.NAME, home)
        self.address = self.start()

    def start(self) -> str:
        """Start it, or start it again on its data; returns when it answers."""
        return local_kafka.ensure(self._home, QUIET).address

    def kill(self) -> None:
        """End it by SIGKILL."""
        assert self._process.kill()

    def freeze(self) -> None:
        """Stop it in its tracks; connections stay open."""
        self._process.stop_with(signal.SIGSTOP, wait_s=0)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.stop_with(signal.SIGCONT, wait_s=0)

    def close(self) -> None:
        """End it for good."""
        self.thaw()
        self._process.kill()


@pytest.fixture(scope="session")
def spare() -> Iterator[SpareBroker]:
    folder = Path(tempfile.mkdtemp(prefix="siyu-spare-"))
    broker = SpareBroker(folder)
    yield broker
    broker.close()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _run(kafka: str, folder: Path) -> Iterator[Run]:
    made = Run(kafka, folder)
    names = [f"{made.prefix}.{name}" for name in ("in", "out", "touches", "state")]
    with _admin(kafka) as admin:
        admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    try:
        yield made
    finally:
        made.stop()
        with _admin(kafka) as admin:
            admin.delete_topics([name for name in names if name in set(admin.list_topics())])


@contextmanager
def _admin(kafka: str) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        yield admin
    finally:
        admin.close()


@pytest.fixture
def run(kafka: str, tmp_path: Path) -> Iterator[Run]:
    with _run(kafka, tmp_path) as made:
        yield made


@pytest.fixture
def spare_run(spare: SpareBroker, tmp_path: Path) -> Iterator[Run]:
    spare.start()  # a test that failed may have left it down
    with _run(spare.address, tmp_path) as made:
        yield made
