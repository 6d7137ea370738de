"""The embedded stack keeps what it promises: reuse, clean stop, data kept, nobody else harmed."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_driver import Client
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from deploy.local import ports
from deploy.local import stack as local_stack
from deploy.local.process import Process
from deploy.local.stack import StackInfo
from schemas.errors import PartMissing, SiyuError
from schemas.settings import ROOT

pytestmark = pytest.mark.integration


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second home beside the session's: its stack may be killed and wiped."""
    monkeypatch.setenv("SIYU_HOME", str(tmp_path))
    yield tmp_path
    local_stack.down(wipe=True)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = Process("sleeper", tmp_path)
    yield process
    process.kill()


def stack_cli(*argv: str) -> subprocess.CompletedProcess[str]:
    code = "from deploy.local.cli import app; app()"
    return subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )


def rows(info: StackInfo, query: str) -> list[tuple[object, ...]]:
    client = Client.from_url(info.clickhouse)
    try:
        return list(client.execute(query))
    finally:
        client.disconnect()


def test_a_second_up_reuses_the_processes(stack: StackInfo, home: Path) -> None:
    before = {name: Process(name, home).pid() for name in ("kafka", "clickhouse")}
    assert None not in before.values()
    assert local_stack.up() == stack
    assert {name: Process(name, home).pid() for name in before} == before


def test_status_lists_what_runs(stack: StackInfo, home: Path) -> None:
    found = local_stack.status()
    assert (found.up, found.stack, found.home) == (True, stack, str(home))
    assert {"kafka", "clickhouse"} <= {process.name for process in found.processes if process.pid}


def test_stack_json_is_what_up_returned(stack: StackInfo, home: Path) -> None:
    assert json.loads((home / "stack.json").read_text()) == stack.as_dict()


@pytest.mark.usefixtures("stack")
def test_secrets_are_made_once_and_private(home: Path) -> None:
    path = home / "secrets.json"
    before = path.read_text()
    local_stack.up()
    assert path.read_text() == before
    assert path.stat().st_mode & 0o077 == 0


def test_data_survives_kill_9_of_broker_and_clickhouse(own_home: Path) -> None:
    info = local_stack.up()
    admin = KafkaAdminClient(bootstrap_servers=info.kafka)
    admin.create_topics([NewTopic("kept", 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=info.kafka, acks="all")
    for number in range(100):
        producer.send("kept", str(number).encode())
    producer.flush()
    producer.close()
    rows(info, "CREATE TABLE kept (n UInt32) ENGINE = MergeTree ORDER BY n")
    rows(info, "INSERT INTO kept SELECT number FROM numbers(100)")

    for name in ("kafka", "clickhouse"):
        assert Process(name, own_home).kill()
    assert not local_stack.status().up
    again = local_stack.up()

    assert again.as_dict() == info.as_dict()  # the ports are kept, so clients find it again
    assert rows(again, "SELECT count(), sum(n) FROM kept") == [(100, 4950)]
    assert read_all(again, "kept") == [str(number).encode() for number in range(100)]


def read_all(info: StackInfo, topic: str) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=info.kafka, auto_offset_reset="earliest")
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    end = consumer.end_offsets([partition])[partition]
    found: list[bytes] = []
    while len(found) < end:
        found += [r.value for batch in consumer.poll(1000).values() for r in batch]
    consumer.close()
    return found


def test_down_stops_all_and_wipe_drops_the_data(own_home: Path) -> None:
    info = local_stack.up()
    rows(info, "CREATE TABLE gone (n UInt32) ENGINE = MergeTree ORDER BY n")
    assert set(local_stack.down()) == {"kafka", "clickhouse"}
    assert not local_stack.status().up
    assert all(process.pid is None for process in local_stack.status().processes)
    assert local_stack.down(wipe=True) == []
    assert not (own_home / "clickhouse").exists()
    assert not (own_home / "kafka").exists()
    info = local_stack.up()
    assert rows(info, "SHOW TABLES") == []


def test_a_kept_port_that_another_program_took_is_replaced(own_home: Path) -> None:
    before = ports.keep(own_home, "clickhouse", "clickhouse_http", "kafka", "kafka_controller")
    with socket.create_server(("127.0.0.1", before["clickhouse"])):
        info = local_stack.up()
        assert ports.kept(own_home)["clickhouse"] != before["clickhouse"]
        assert info.kafka == f"127.0.0.1:{before['kafka']}"
        assert rows(info, "SELECT 1") == [(1,)]


def test_a_failing_query_leaves_clickhouse_serving(clickhouse: Client, home: Path) -> None:
    pid = Process("clickhouse", home).pid()
    for query in (
        "SELECT throwIf(1)",
        "SELEC",
        "SELECT groupArray(number) FROM numbers(4000000000) SETTINGS max_memory_usage=100000000",
    ):
        with pytest.raises(Exception, match="DB::Exception"):
            clickhouse.execute(query)
    assert clickhouse.execute("SELECT 1") == [(1,)]
    assert Process("clickhouse", home).pid() == pid


def test_clickhouse_serves_again_when_its_keeper_query_is_cancelled(own_home: Path) -> None:
    info = local_stack.up()
    process = Process("clickhouse", own_home)
    pid = process.pid()
    rows(info, "KILL QUERY WHERE query LIKE 'SELECT sleepEachRow%' ASYNC")
    process.wait_healthy(lambda: rows(info, "SELECT 1"))
    assert process.pid() == pid


def test_a_foreign_pid_is_never_signalled(sleeper: Process, tmp_path: Path) -> None:
    sleeper.spawn(["sleep", "600"])
    impostor = Process("impostor", tmp_path)
    impostor.pid_path.write_text(str(sleeper.pid()))
    assert impostor.pid() is None
    assert not impostor.stop()
    assert not impostor.kill()
    assert sleeper.pid() is not None


def test_a_process_is_started_once(sleeper: Process) -> None:
    pid = sleeper.spawn(["sleep", "600"])
    with pytest.raises(SiyuError, match="already runs"):
        sleeper.spawn(["sleep", "600"])
    assert sleeper.pid() == pid


def test_stop_ends_a_process_that_ignores_sigterm(sleeper: Process) -> None:
    sleeper.spawn(["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"])
    sleeper.wait_healthy(lambda: sleeper.tail().index("deaf"))
    assert not sleeper.stop_with(signal.SIGTERM, wait_s=0.3)
    assert sleeper.stop(grace_s=0.3)
    assert sleeper.pid() is None


def test_a_process_that_ends_while_starting_tells_its_last_words(sleeper: Process) -> None:
    sleeper.spawn(["sh", "-c", "echo no room left; exit 1"])
    with pytest.raises(PartMissing, match="no room left"):
        sleeper.wait_healthy(lambda: 1 / 0)


@pytest.mark.usefixtures("own_home")
def test_a_wrong_external_address_says_which_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIYU_CLICKHOUSE", "clickhouse://default@127.0.0.1:1/siyu")
    monkeypatch.setenv("SIYU_KAFKA", "127.0.0.1:1")
    with pytest.raises(PartMissing, match="SIYU_"):
        local_stack.up()


def test_the_commands_print_one_json_object(stack: StackInfo) -> None:
    done = stack_cli("up", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found.pop("seconds") >= 0) == (0, True)
    assert found == stack.as_dict()
    assert json.loads(stack_cli("status", "--json").stdout)["up"] is True
    assert stack_cli("logs", "kafka").returncode == 0


@pytest.mark.usefixtures("own_home")
def test_status_of_an_empty_home_exits_3_and_an_unknown_log_2() -> None:
    assert stack_cli("status").returncode == 3
    assert stack_cli("logs", "nobody").returncode == 2


def test_clickhouse_cuts_days_in_utc_wherever_it_runs(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    info = local_stack.up()
    assert Process("clickhouse", own_home).pid()
    assert rows(info, "SELECT timezone()") == [("UTC",)]
