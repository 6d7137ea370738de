"""The embedded broker: one node of Apache Kafka in KRaft mode, its data kept across restarts."""

import base64
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from kafka import KafkaAdminClient

from deploy.local import fetch, jars, java
from deploy.local.jars import VERSION
from deploy.local.parts import Engine, Served, bring_up, connects
from deploy.local.process import Process
from deploy.progress import Progress
from schemas.errors import PartMissing

# The newest metadata that it reads: "4.2-IV1". Data is formatted with the newest its Kafka knows.
_METADATA_LEVEL: Final = 29
NAME: Final = "kafka"
_HERE: Final = Path(__file__).parent
# Serial: on a small machine its short pauses cost less than G1's helper threads. The first
# compiler only: the second took 40 % of the broker's CPU in its first minutes, which is how long
# a demo, a test or a bench lasts; what it makes is no faster to be seen.
_LIGHT: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_SIZED: Final = ("-Xms256m", "-Xmx768m", "-Djava.awt.headless=true")

_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{kafka_controller}
listeners=PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{kafka_controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{kafka}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# One member at a time joins here: waiting for others would only delay each start.
group.initial.rebalance.delay.ms=0
# Lets a short session find a killed worker in a second.
group.min.session.timeout.ms=1000
# After kill -9 the node's old registration must lapse before the new one is taken.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
log.cleaner.dedupe.buffer.size=33554432
"""


def unavailable() -> str | None:
    """Return why Apache Kafka cannot run here, or None."""
    return java.unavailable()


def ensure(home: Path, report: Progress) -> Served:
    """Return the running broker of this home; start it if it is down."""
    process = Process(NAME, home)

    def start(ports: dict[str, int]) -> None:
        if (reason := unavailable()) is not None:
            raise PartMissing("Apache Kafka", reason, remedy=java.REMEDY)
        with ThreadPoolExecutor(2) as pool:
            fetched = pool.submit(java.ensure, report), pool.submit(jars.ensure, report)
            program = (fetched[0].result(), *_LIGHT, "-cp", f"{fetched[1].result()}/*")
        config = _configure(home, ports, program)
        report(f"Apache Kafka {VERSION}: starting on 127.0.0.1:{ports['kafka']}")
        log4j = f"-Dlog4j2.configurationFile={_HERE / 'kafka-log4j2.xml'}"
        process.spawn([*program, *_SIZED, log4j, "kafka.Kafka", str(config)])

    ports = bring_up(process, home, ["kafka", "kafka_controller"], start, probe)
    return Served(f"127.0.0.1:{ports['kafka']}", Engine("apache-kafka", VERSION))


def probe(ports: dict[str, int]) -> None:
    """Raise unless the broker answers and takes part in its cluster."""
    connects(f"127.0.0.1:{ports['kafka']}")
    admin = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{ports['kafka']}")
    try:
        brokers = admin.describe_cluster()["brokers"]
    finally:
        admin.close()
    if not brokers or any(broker.get("is_fenced") for broker in brokers):
        raise ConnectionError("the broker is not yet part of its cluster")


def _configure(home: Path, ports: dict[str, int], program: Sequence[str]) -> Path:
    folder = home / "kafka"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "server.properties"
    config.write_text(_PROPERTIES.format(data=folder / "data", **ports))
    if (folder / "data").exists():
        assert_readable(folder / "data")
    else:
        _format(folder, ports, program)
    return config


def assert_readable(data: Path) -> None:
    """Raise ``PartMissing`` if a newer Kafka has formatted a folder of data.

    Started on it, the broker would end with a stack trace about versions of its metadata.
    """
    name, checkpoint = b"metadata.version", data / "bootstrap.checkpoint"
    found = checkpoint.read_bytes() if checkpoint.exists() else b""
    # A FeatureLevelRecord: the feature's name, then its level as int16.
    _, there, rest = found.partition(name)
    level = int.from_bytes(rest[:2], "big")
    if there and level > _METADATA_LEVEL:
        raise PartMissing(
            "Apache Kafka",
            f"the data in {data} is of a newer Kafka than {VERSION}"
            f" (metadata level {level}, this one reads up to {_METADATA_LEVEL})",
            remedy="move that folder away, or remove it if its events may go; then start again",
        )


def _format(folder: Path, ports: dict[str, int], program: Sequence[str]) -> None:
    # Aside and then renamed: a run that is killed here leaves no half-formatted data.
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    fresh = folder / f"data.{cluster}"
    config = folder / f"{cluster}.properties"
    config.write_text(_PROPERTIES.format(data=fresh, **ports))
    argv = [*program, "-Xmx256m", "kafka.tools.StorageTool", "format"]
    # One word: an id may begin with a dash, which would read as another option.
    argv += [f"--cluster-id={cluster}", "-c", str(config)]
    fetch.run("Apache Kafka", argv, cwd=folder, remedy="check disk space and rights")
    config.unlink()
    fresh.rename(folder / "data")
