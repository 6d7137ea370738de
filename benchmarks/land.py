"""`siyu bench land`: rows per second from Kafka into ClickHouse, against two that promise less.

``siyu`` is `siyu land`. ``rows`` is what one writes first: a consumer that inserts tuples of rows
and commits afterwards. ``kafka_engine`` is ClickHouse's own Kafka table with a materialized view.
All read the same topic, one after the other, into the same tables with the same views.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clickhouse_driver import Client
from clickhouse_driver.errors import Error as ClickHouseError
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from rich.console import Console

from benchmarks import report
from benchmarks.broker import Broker
from deploy.local import stack
from deploy.local.process import Process
from deploy.progress import Progress
from schemas import topics
from schemas.errors import ConfigInvalid, PartMissing
from schemas.events import Event, encode_event
from schemas.settings import ROOT, Settings, StackSettings, at_home
from sinks.clickhouse.client import connect
from sinks.clickhouse.land import GROUP
from sinks.clickhouse.migrate import migrate
from streams.commands.broker import ensure_topics

LANDERS: Final = ("siyu", "rows", "kafka_engine")
BAR_ROWS_S: Final = 100_000
BAR_RATIO: Final = 0.5
PARTITIONS: Final = 4
# The Kafka engine has as many as land_kafka_engine.sql says.
_CONSUMERS: Final = {"kafka_engine": 2}
_POLL_S: Final = 0.05
_PATIENCE_S: Final = 300.0
_ENGINE_S: Final = 30.0
_NOW_MS: Final = 1_790_000_000_000
_FEED: Final = Path(__file__).with_name("land_kafka_engine.sql")


@dataclass(frozen=True, slots=True)
class Stage:
    """The embedded stack of this bench alone: the lander's topics have fixed names."""

    home: Path
    settings: Settings
    events: int
    console: Console

    def in_database(self, name: str) -> Settings:
        """Return the settings with a database of its own."""
        server = self.settings.clickhouse.rpartition("/")[0]
        return Settings(kafka=self.settings.kafka, clickhouse=f"{server}/{name}")


def run(*, events: int, rounds: int, quiet: bool) -> dict[str, Any]:
    """Run all landers in alternating rounds; return the answer."""
    if StackSettings().kafka or StackSettings().clickhouse:
        raise ConfigInvalid(
            "SIYU_KAFKA, SIYU_CLICKHOUSE",
            "this bench fills the topic `events` and reads it as the group of `siyu land`",
            hint="unset them: it brings up a stack of its own",
        )
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in LANDERS}
    with _staged(events, quiet=quiet) as staged:
        size = _fill(staged)
        without = _without_kafka_engine(staged)
        names = [name for name in LANDERS if not (without and name == "kafka_engine")]
        for number in range(rounds):
            # Turned about, so that none always runs in the wake of the same other.
            for name in names if number % 2 == 0 else names[::-1]:
                staged.console.print(f"round {number + 1}: {name}")
                runs[name].append(_measure(staged, name, f"{name}_{number}"))
    return _answer(runs, rounds, size, without)


@contextmanager
def _staged(events: int, *, quiet: bool) -> Iterator[Stage]:
    console = Console(stderr=True, quiet=quiet)
    folder = Path(tempfile.mkdtemp(prefix="siyu-bench-"))
    # Ended from outside, it takes its stack down all the same.
    handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with at_home(folder):
        try:
            info = stack.up(report=Progress(quiet=quiet))
            if not info.kafka_transactions:
                raise PartMissing("kafka", "no transactions", remedy="install Java 17")
            settings = Settings(kafka=info.kafka, clickhouse=info.clickhouse, partitions=PARTITIONS)
            yield Stage(folder, settings, events, console)
        finally:
            signal.signal(signal.SIGTERM, handler)
            stack.down()
            shutil.rmtree(folder, ignore_errors=True)


def event(number: int) -> bytes:
    """Return an event as the worker writes it, about 350 bytes long."""
    user = f"u{number * 7919 % 20_000}"
    return encode_event(
        Event(
            message_id=f"m{number:09d}",
            type="track",
            event=("product_viewed", "page_viewed", "cart_added", "order_paid")[number % 4],
            user=f"user_id:{user}",
            source="app",
            door="native",
            account="shop",
            timestamp_ms=_NOW_MS + number,
            received_at_ms=_NOW_MS + number + 40,
            user_id=user,
            identities={"user_id": user},
            context={"channel": ("douyin", "baidu")[number % 2]},
            properties={"sku": f"s{number % 500}", "amount": number % 900},
            raw_partition=number % PARTITIONS,
            raw_offset=number,
        )
    )


def _fill(staged: Stage) -> float:
    """Fill the topic; return the mean size of an event in bytes."""
    ensure_topics(staged.settings)
    broker = Broker(staged.settings, "none")
    staged.console.print(f"filling {topics.EVENTS.name} with {staged.events} events")
    records = ((f"u{n * 7919 % 20_000}".encode(), event(n)) for n in range(staged.events))
    broker.fill(topics.EVENTS.name, PARTITIONS, records, lambda _count: None)
    broker.close()
    return sum(len(event(n)) for n in range(0, staged.events, 997)) / len(
        range(0, staged.events, 997)
    )


def _without_kafka_engine(staged: Stage) -> str:
    """Return why the server cannot run the Kafka engine, from itself; empty if it can."""
    client = connect(staged.settings.clickhouse)
    found = client.execute("SELECT count() FROM system.table_engines WHERE name = 'Kafka'")
    client.disconnect()
    return "" if found[0][0] else "system.table_engines of this server has no Kafka"


def _migrate(settings: Settings) -> None:
    """Make the tables; the embedded engine starts anew if a client ended amid an insert."""
    deadline_s = time.monotonic() + _ENGINE_S
    while True:
        try:
            migrate(settings)
        except PartMissing:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _measure(staged: Stage, name: str, database: str) -> dict[str, Any]:
    settings = staged.in_database(database)
    _migrate(settings)
    client = connect(settings.clickhouse)
    try:
        with _landing(staged, name, settings, client) as process:
            told = _window(staged, name, client, process)
            exact = client.execute("SELECT count(), uniqExact(_partition, _offset) FROM events")[0]
            told["exact"] = exact == (staged.events, staged.events)
        return told
    finally:
        client.disconnect()
        _drop(staged, database)


def _drop(staged: Stage, database: str) -> None:
    """Drop a database; the embedded engine may be starting anew after a client's abrupt end."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            client = connect(staged.settings.clickhouse)
            client.execute(f"DROP DATABASE IF EXISTS {database} SYNC")
            client.disconnect()
        except (ClickHouseError, OSError, EOFError):
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_POLL_S)
        else:
            return


@contextmanager
def _landing(
    staged: Stage, name: str, settings: Settings, client: Client
) -> Iterator[subprocess.Popen[bytes] | None]:
    if name == "kafka_engine":
        with _kafka_engine(settings, client):
            yield None
        return
    module = ["streams.commands.cli", "land"] if name == "siyu" else ["benchmarks.on_land_rows"]
    environment = os.environ | {
        "SIYU_KAFKA": settings.kafka,
        "SIYU_CLICKHOUSE": settings.clickhouse,
    }
    with (staged.home / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *module], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if name == "siyu":
            _forget_group(staged.settings)


@contextmanager
def _kafka_engine(settings: Settings, client: Client) -> Iterator[None]:
    group = settings.clickhouse.rpartition("/")[2]
    text = _FEED.read_text("utf-8").replace("{kafka}", settings.kafka).replace("{group}", group)
    for statement in text.split(";\n"):
        if statement.strip():
            client.execute(statement)
    yield
    client.execute("DROP TABLE feed_to_events SYNC")
    client.execute("DROP TABLE feed SYNC")


def _forget_group(settings: Settings) -> None:
    """Have the lander begin at the start of the topics again."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    admin.delete_groups([GROUP])
    admin.close()


def _window(
    staged: Stage, name: str, client: Client, process: subprocess.Popen[bytes] | None
) -> dict[str, Any]:
    """Return rows/s and CPU from the moment it has its partitions until the last row is there.

    From then on each lander fetches: what one holds in memory when its first rows show, more than
    half of all perhaps, is in the time of all three.
    """
    pids = {
        "clickhouse": _engine_pid(staged.home),
        "broker": Process("kafka", staged.home).pid() or 0,
        "lander": process.pid if process else 0,
    }
    _wait_for_partitions(staged, name, client)
    began_s, used = time.monotonic(), {part: _cpu_s(pid) for part, pid in pids.items()}
    deadline_s = began_s + _PATIENCE_S
    while (rows := client.execute("SELECT count() FROM events")[0][0]) < staged.events:
        if time.monotonic() > deadline_s or (process and process.poll() is not None):
            logs = "".join(path.read_text("utf-8")[-2000:] for path in staged.home.glob("*.log"))
            raise PartMissing("the landing", f"stopped at {rows} rows: {logs}", remedy="try again")
        time.sleep(_POLL_S)
    seconds = time.monotonic() - began_s
    per = 100_000 / staged.events
    costs = {f"cpu_{part}_s": (_cpu_s(pid) - used[part]) * per for part, pid in pids.items()}
    both = costs["cpu_lander_s"] + costs["cpu_clickhouse_s"]
    return {"rows_s": staged.events / seconds, "cpu_s": both, **costs}


def _wait_for_partitions(staged: Stage, name: str, client: Client) -> None:
    """Wait until the broker has dealt a lander's partitions to all its consumers."""
    database = client.execute("SELECT currentDatabase()")[0][0]
    group, members = (GROUP if name == "siyu" else database), _CONSUMERS.get(name, 1)
    admin = KafkaAdminClient(bootstrap_servers=staged.settings.kafka)
    deadline_s = time.monotonic() + _PATIENCE_S
    try:
        while time.monotonic() < deadline_s:
            # The first group of a broker has it make the topic of all groups first.
            with suppress(KafkaError):
                found = admin.describe_groups([group])[group]
                if found["group_state"] == "Stable" and len(found["members"]) >= members:
                    return
            time.sleep(_POLL_S)
    finally:
        admin.close()
    raise PartMissing("the landing", f"{name} got no partitions", remedy="try again")


def _engine_pid(home: Path) -> int:
    """Return the process that the engine runs in: the child of the one that watches it."""
    watcher = Process("clickhouse", home).pid()
    if watcher is None:
        raise PartMissing("clickhouse", "it is down", remedy="try again")
    children = Path(f"/proc/{watcher}/task/{watcher}/children").read_text("ascii").split()
    return int(children[0]) if children else watcher


def _cpu_s(pid: int) -> float:
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _answer(
    runs: dict[str, list[dict[str, Any]]], rounds: int, size: float, without: str
) -> dict[str, Any]:
    results: dict[str, Any] = {
        name: report.summary(
            [one["rows_s"] for one in each],
            "rows/s",
            cpu_s_per_100k=report.median([one["cpu_s"] for one in each]),
            cpu_lander_s_per_100k=report.median([one["cpu_lander_s"] for one in each]),
            cpu_clickhouse_s_per_100k=report.median([one["cpu_clickhouse_s"] for one in each]),
            cpu_broker_s_per_100k=report.median([one["cpu_broker_s"] for one in each]),
            each_row_once=all(one["exact"] for one in each),
        )
        for name, each in runs.items()
        if each
    }
    peers = [name for name in results if name != "siyu"]
    ratios = {f"siyu/{name}": report.ratio(results, "siyu", name) for name in peers}
    checks = {
        "siyu_each_row_once": results["siyu"]["each_row_once"],
        f"siyu_{BAR_ROWS_S}_rows_s": results["siyu"]["median"] >= BAR_ROWS_S,
    }
    if without:
        results["siyu"]["kafka_engine"] = without
    else:
        checks["siyu_half_of_kafka_engine"] = ratios["siyu/kafka_engine"] >= BAR_RATIO
    return {
        "bench": "land",
        "machine": report.machine(),
        "rounds": rounds,
        "event_bytes": round(size),
        "results": results,
        "ratios": ratios,
        "checks": checks,
    }
