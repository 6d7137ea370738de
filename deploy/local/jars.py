"""The jars of the embedded broker: Maven brings them, else jgo, which resolves as Maven does.

Whoever brings them, they are exactly those of kafka-jars.sha256 or none.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from deploy.local import fetch
from deploy.progress import Progress, count
from schemas.errors import PartMissing

# Not newer: 4.3 and 4.4 can lose the end of a transaction (docs/decisions/broker-version.md).
VERSION: Final = "4.2.0"
_PART: Final = f"Apache Kafka {VERSION}"
_HERE: Final = Path(__file__).parent
_POM: Final = _HERE / "kafka-pom.xml"
_PINNED: Final = _HERE / "kafka-jars.sha256"
_JGO: Final = _HERE / "jgo.lock"
_JGO_MB: Final = 3
_REMEDY: Final = "check the network and Maven's settings (~/.m2/settings.xml), or set SIYU_KAFKA"


def ensure(report: Progress) -> Path:
    """Return the folder of the jars; fetch them if they are not there."""

    def fill(work: Path) -> None:
        (work / "jars").mkdir()
        bring = _by_maven if _has_maven() else _by_jgo
        bring(work, report)
        verify(work / "jars")

    # Another list of jars is another folder: an upgrade never mixes two.
    digest = hashlib.sha256(_PINNED.read_bytes()).hexdigest()[:12]
    return fetch.cached(f"kafka-{VERSION}-{digest}", fill) / "jars"


def verify(jars: Path) -> None:
    """Raise ``PartMissing`` unless the folder holds exactly the jars that were checked."""
    wanted = pinned()
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars.glob("*.jar")}
    if wrong := sorted(wanted.items() ^ found.items()):
        raise PartMissing(
            "Apache Kafka",
            f"other jars came than deploy/local/kafka-jars.sha256 names: {wrong[0][0]}",
            remedy="try again, or check which repository Maven's settings name",
        )


def pinned() -> dict[str, str]:
    """Return file name -> SHA-256 of each jar."""
    lines = (line.split() for line in _PINNED.read_text().splitlines())
    return {name: digest for digest, name in lines}


def mirror(settings: Path) -> str | None:
    """Return the mirror of Maven Central that a settings.xml names, if it does."""
    try:
        root = ET.parse(settings).getroot()  # noqa: S314 - the user's own file
    except FileNotFoundError:
        return None
    except ET.ParseError as error:
        raise PartMissing("Apache Kafka", f"{settings}: {error}", remedy="mend it") from error
    for entry in root.findall("{*}mirrors/{*}mirror"):
        of = {name.strip() for name in entry.findtext("{*}mirrorOf", "").split(",")}
        if "!central" not in of and of & {"*", "external:*", "central"}:
            return entry.findtext("{*}url", "").strip().rstrip("/") or None
    return None


def _has_maven() -> bool:
    # Maven is a Java program itself.
    java = os.environ.get("JAVA_HOME") or shutil.which("java")
    return shutil.which("mvn") is not None and bool(java)


def _by_maven(work: Path, report: Progress) -> None:
    shutil.copy(_POM, work / "pom.xml")
    argv = ["mvn", "-q", "-B", "dependency:copy-dependencies"]
    argv += ["-DincludeScope=runtime", f"-DoutputDirectory={work / 'jars'}"]
    with report.work(_PART, ": fetching with Maven, once (44 MB)"):
        fetch.run("Apache Kafka", argv, cwd=work, remedy=_REMEDY)


def _by_jgo(work: Path, report: Progress) -> None:
    library = fetch.wheel("jgo", _JGO, report, total_mb=_JGO_MB) / "lib"
    repository, needed = work / "repository", len(pinned())

    def how_far() -> str:
        if jars := count(repository, ".jar"):
            return f"{jars} of {needed} jars"
        return f"finding its jars ({count(repository, '.pom')} files read)"

    argv = [sys.executable, "-P", str(_HERE / "jars_child.py"), str(library), str(_POM)]
    argv += [str(repository), mirror(Path.home() / ".m2/settings.xml") or ""]
    with report.work(_PART, ": fetching with jgo, once (44 MB)", how_far):
        fetch.run("Apache Kafka", argv, cwd=work, remedy=_REMEDY)
        # It leaves out what stands behind a description that it could not read; a second look
        # reads that one alone.
        if count(repository, ".jar") < needed:
            fetch.run("Apache Kafka", argv, cwd=work, remedy=_REMEDY)
    for jar in repository.rglob("*.jar"):
        jar.rename(work / "jars" / jar.name)
    shutil.rmtree(repository)
