"""The embedded ClickHouse: a binary on PATH, else the same engine as a library fetched by npm.

Both run `clickhouse local` with its two listeners on, so MergeTree, views and the deduplication
of inserts are the server's own; replicated engines and users are not there.
"""

import base64
import hashlib
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Final

from clickhouse_driver import Client

from deploy.local import fetch, node
from deploy.local.parts import Engine, Served, bring_up, connects
from deploy.local.process import Process
from deploy.progress import Progress, megabytes
from schemas.errors import PartMissing

NAME: Final = "clickhouse"
LIBRARY_VERSION: Final = "26.7.3-stable.1"
# The registry's own sha512 of the package, as npm reports it. An unlisted platform is checked by
# npm against the registry alone.
_INTEGRITY: Final = {
    "linux-x64-gnu": (
        "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw=="
    ),
}
_MEGABYTES: Final = 177
_LIBRARY: Final = "package/libchdb.so"
_REMEDY: Final = "set SIYU_CLICKHOUSE, or put a `clickhouse` binary on PATH"
_HERE: Final = Path(__file__).parent
# Serving lasts as long as the last query, so that one sleeps for ever; its text is also how the
# child finds it when it has to end.
KEEPER: Final = (
    "SELECT sleepEachRow(1) FROM system.numbers "
    "SETTINGS max_block_size=1, max_threads=1, max_execution_time=0 FORMAT Null"
)
_CONFIG: Final = """\
<clickhouse>
  <!-- Over it a query fails; the engine and the machine's other processes live on. -->
  <max_server_memory_usage>{memory_bytes}</max_server_memory_usage>
</clickhouse>
"""
_MEMORY_AT_MOST_BYTES: Final = 3 * 1024**3


def ensure(home: Path, report: Progress) -> Served:
    """Return the running ClickHouse of this home, with its database; start it if it is down."""
    process = Process(NAME, home)

    def start(ports: dict[str, int]) -> None:
        program = _program(report)
        report(f"ClickHouse: starting on 127.0.0.1:{ports['clickhouse']}")
        # The engine takes its time zone from here, not from its config: days are cut in UTC.
        process.spawn([*program, *_arguments(home, ports)], env={"TZ": "UTC"})

    ports = bring_up(process, home, ["clickhouse", "clickhouse_http"], start, _probe)
    address = f"clickhouse://default@127.0.0.1:{ports['clickhouse']}"
    name = "clickhouse" if shutil.which("clickhouse") else "libchdb"
    engine = Engine(name, version(f"{address}/default"))
    _ask(f"{address}/default", "CREATE DATABASE IF NOT EXISTS siyu")
    return Served(f"{address}/siyu", engine)


def version(url: str) -> str:
    """Return the engine's version; raises what clickhouse-driver raises when it is down."""
    return _ask(url, "SELECT version()")


def _ask(url: str, query: str) -> str:
    client = Client.from_url(f"{url}?connect_timeout=5")
    try:
        rows = client.execute(query)
    finally:
        client.disconnect()
    return str(rows[0][0]) if rows else ""


def _probe(ports: dict[str, int]) -> None:
    connects(f"127.0.0.1:{ports['clickhouse_http']}")
    connects(f"127.0.0.1:{ports['clickhouse']}")
    version(f"clickhouse://default@127.0.0.1:{ports['clickhouse']}/default")


def _arguments(home: Path, ports: dict[str, int]) -> list[str]:
    folder = home / "clickhouse"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    config = folder / "config.xml"
    config.write_text(_CONFIG.format(memory_bytes=_memory_bytes()))
    return [
        *("--config-file", str(config)),
        *("--path", str(folder / "data")),
        *("--listen_host", "127.0.0.1"),
        *("--tcp_port", str(ports["clickhouse"])),
        *("--http_port", str(ports["clickhouse_http"])),
        *("--log-level=warning", "--logger.console"),
        *("--query", f"SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; {KEEPER}"),
    ]


def _memory_bytes() -> int:
    # A third of a small machine: broker and workers need theirs.
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(_MEMORY_AT_MOST_BYTES, machine // 3)


def _program(report: Progress) -> list[str]:
    binary = shutil.which("clickhouse")
    if binary:
        return [binary, "local"]
    return [sys.executable, str(_HERE / "clickhouse_child.py"), str(_library(report))]


def _library(report: Progress) -> Path:
    system, arch = fetch.platform_tag()
    tag = f"{system}-{arch}" + ("-gnu" if system == "linux" else "")
    package = f"@chdb/lib-{tag}@{LIBRARY_VERSION}"

    def fill(work: Path) -> None:
        npm = node.npm(report)
        how_far = megabytes(_MEGABYTES, work, node.downloads(npm))
        more = f" {LIBRARY_VERSION}: fetching with npm, once ({_MEGABYTES} MB)"
        with report.work("ClickHouse", more, how_far):
            fetch.run("ClickHouse", [*npm, "pack", "--silent", package], cwd=work, remedy=_REMEDY)
            archive = next(work.glob("*.tgz"))
            _verify(archive, tag)
            _unpack(archive, work / _LIBRARY)
            archive.unlink()

    return fetch.cached(f"libchdb-{LIBRARY_VERSION}-{tag}", fill) / _LIBRARY


def _verify(archive: Path, tag: str) -> None:
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    integrity = "sha512-" + base64.b64encode(digest).decode()
    if _INTEGRITY.get(tag, integrity) != integrity:
        raise PartMissing(
            "ClickHouse",
            f"npm brought another {archive.name} than the one that was checked",
            remedy="check which registry npm uses",
        )


def _unpack(archive: Path, library: Path) -> None:
    library.parent.mkdir()
    # Not by extract(): the filters that make it safe came with Python 3.11.4.
    with tarfile.open(archive) as tar, library.open("wb") as file:
        member = tar.extractfile(_LIBRARY)
        if member is None:
            raise PartMissing("ClickHouse", f"{archive.name} has no library", remedy=_REMEDY)
        shutil.copyfileobj(member, file, 1024 * 1024)
