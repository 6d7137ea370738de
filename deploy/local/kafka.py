"""The embedded broker: one node of Apache Kafka in KRaft mode, its data kept across restarts."""

import base64
import hashlib
import re
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Final

from kafka import KafkaAdminClient

from deploy.local import fetch
from deploy.local.parts import Engine, Report, Served, bring_up, connects
from deploy.local.process import Process
from schemas.errors import PartMissing
from schemas.settings import StackSettings

# Not newer: 4.3 and 4.4 can lose the end of a transaction (docs/decisions/broker-version.md).
VERSION: Final = "4.2.0"
# The newest metadata that it reads: "4.2-IV1". Data is formatted with the newest its Kafka knows.
_METADATA_LEVEL: Final = 29
NAME: Final = "kafka"
_HERE: Final = Path(__file__).parent
_JAVA_AT_LEAST: Final = 17
_REMEDY: Final = "install Java 17 or newer and Maven (Debian: default-jre-headless maven)"
# Serial: on a small machine its short pauses cost less than G1's helper threads. The first
# compiler only: the second took 40 % of the broker's CPU in its first minutes, which is how long
# a demo, a test or a bench lasts; what it makes is no faster to be seen.
_LIGHT: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_JVM: Final = ["-Xms256m", "-Xmx768m", *_LIGHT, "-Djava.awt.headless=true"]
_JVM_TOOL: Final = ["-Xmx256m", *_LIGHT]

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
    java = _java_major()
    if java is None:
        return "no java on PATH"
    if java < _JAVA_AT_LEAST:
        return f"java {java} on PATH is older than {_JAVA_AT_LEAST}"
    if shutil.which("mvn") is None and not _jars_path().exists():
        return "no mvn on PATH"
    return None


def ensure(home: Path, report: Report) -> Served:
    """Return the running broker of this home; start it if it is down."""
    process = Process(NAME, home)

    def start(ports: dict[str, int]) -> None:
        if (reason := unavailable()) is not None:
            raise PartMissing("Apache Kafka", reason, remedy=_REMEDY)
        jars = _jars(report)
        config = _configure(home, ports, jars)
        report(f"Apache Kafka {VERSION}: starting on 127.0.0.1:{ports['kafka']}")
        log4j = f"-Dlog4j2.configurationFile={_HERE / 'kafka-log4j2.xml'}"
        process.spawn(["java", *_JVM, "-cp", f"{jars}/*", log4j, "kafka.Kafka", str(config)])

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


def _java_major() -> int | None:
    try:
        done = subprocess.run(
            ["java", "-version"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', done.stderr + done.stdout)
    return int(found[1]) if found and done.returncode == 0 else None


def _jars_path() -> Path:
    return StackSettings().cache / f"kafka-{VERSION}-{_jars_digest()}"


def _jars_digest() -> str:
    # Another list of jars is another folder: an upgrade never mixes two.
    return hashlib.sha256((_HERE / "kafka-jars.sha256").read_bytes()).hexdigest()[:12]


def _jars(report: Report) -> Path:
    def fill(work: Path) -> None:
        report(f"Apache Kafka {VERSION}: fetching with Maven, once (44 MB)")
        shutil.copy(_HERE / "kafka-pom.xml", work / "pom.xml")
        argv = ["mvn", "-q", "-B", "dependency:copy-dependencies"]
        argv += ["-DincludeScope=runtime", f"-DoutputDirectory={work / 'jars'}"]
        fetch.run("Apache Kafka", argv, cwd=work, remedy="check the network and Maven's settings")
        _verify(work / "jars")

    return fetch.cached(_jars_path().name, fill) / "jars"


def _verify(jars: Path) -> None:
    wanted = {}
    for line in (_HERE / "kafka-jars.sha256").read_text().splitlines():
        digest, name = line.split()
        wanted[name] = digest
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars.glob("*.jar")}
    if wrong := sorted(wanted.items() ^ found.items()):
        raise PartMissing(
            "Apache Kafka",
            f"Maven brought other jars than deploy/local/kafka-jars.sha256 names: {wrong[0][0]}",
            remedy="check which repository Maven uses",
        )


def _configure(home: Path, ports: dict[str, int], jars: Path) -> Path:
    folder = home / "kafka"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "server.properties"
    config.write_text(_PROPERTIES.format(data=folder / "data", **ports))
    if (folder / "data").exists():
        assert_readable(folder / "data")
    else:
        _format(folder, ports, jars)
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


def _format(folder: Path, ports: dict[str, int], jars: Path) -> None:
    # Aside and then renamed: a run that is killed here leaves no half-formatted data.
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    fresh = folder / f"data.{cluster}"
    config = folder / f"{cluster}.properties"
    config.write_text(_PROPERTIES.format(data=fresh, **ports))
    argv = ["java", *_JVM_TOOL, "-cp", f"{jars}/*", "kafka.tools.StorageTool", "format"]
    # One word: an id may begin with a dash, which would read as another option.
    argv += [f"--cluster-id={cluster}", "-c", str(config)]
    fetch.run("Apache Kafka", argv, cwd=folder, remedy="check disk space and rights")
    config.unlink()
    fresh.rename(folder / "data")
