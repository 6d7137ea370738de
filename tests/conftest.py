"""Fixtures on the real parts: one Apache Kafka and one ClickHouse for the whole session."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_driver import Client
from hypothesis import HealthCheck, settings
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from deploy.local import stack as local_stack
from deploy.local.stack import StackInfo
from deploy.progress import Progress
from schemas.settings import at_home
from tests.land_harness import Bench, bench

TopicFactory = Callable[..., str]
# No law is about speed: a machine that is busy must not break one.
settings.register_profile("siyu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("siyu")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    parser.addoption(
        "--bodies", type=int, default=20_000, help="bad bodies that the fuzzer sends to the doors"
    )
    parser.addoption("--kills", type=int, default=40, help="proven kills of the lander")


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A home folder of this session alone: `siyu up` of the developer is left in peace."""
    folder = Path(tempfile.mkdtemp(prefix="siyu-test-"))
    with at_home(folder):
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(home: Path, pytestconfig: pytest.Config) -> Iterator[StackInfo]:
    """The running stack; tests need Apache Kafka, since the stand-in keeps no guarantee."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    # The first run of all fetches for a minute: that is to be seen.
    with capture.global_and_fixture_disabled():
        info = local_stack.up(report=Progress())
    assert (home / "stack.json").exists()
    try:
        assert info.broker.name != "tansu", "the tests need Apache Kafka: install Java 17"
        yield info
    finally:
        local_stack.down()


@pytest.fixture(scope="session")
def kafka(stack: StackInfo) -> str:
    """Bootstrap servers of the session's broker."""
    return stack.kafka


@pytest.fixture
def clickhouse_url(stack: StackInfo) -> Iterator[str]:
    """Native URL of a fresh, empty database; dropped after the test."""
    server = stack.clickhouse.rpartition("/")[0]
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = Client.from_url(f"{server}/default")
    admin.execute(f"CREATE DATABASE {name}")
    yield f"{server}/{name}"
    admin.execute(f"DROP DATABASE {name} SYNC")
    admin.disconnect()


@pytest.fixture
def clickhouse(clickhouse_url: str) -> Iterator[Client]:
    """A client whose current database is fresh."""
    client = Client.from_url(clickhouse_url)
    yield client
    client.disconnect()


@pytest.fixture(scope="session")
def kafka_admin(kafka: str) -> Iterator[KafkaAdminClient]:
    """An admin client for the session."""
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    yield admin
    admin.close()


@pytest.fixture
def topic(kafka_admin: KafkaAdminClient) -> Iterator[TopicFactory]:
    """``topic(stem, partitions=1, **config)`` makes a topic of a unique name and returns it."""
    made: list[str] = []

    def make(stem: str = "t", partitions: int = 1, **config: str) -> str:
        name = f"{stem}.{uuid.uuid4().hex[:8]}"
        configs = {key.replace("_", "."): value for key, value in config.items()}
        kafka_admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
        made.append(name)
        return name

    yield make
    if made:
        kafka_admin.delete_topics(made)


@pytest.fixture(scope="module")
def landing_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A stack of a module's own, whose parts landers and tests may kill."""
    with bench(tmp_path_factory.mktemp("land")) as one:
        yield one


@pytest.fixture
def landing(landing_stack: Bench) -> Iterator[Bench]:
    """The module's own stack; landers that a test leaves running are ended."""
    yield landing_stack
    landing_stack.stop_landers()
