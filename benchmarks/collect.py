"""`siyu bench collect`: events per second of one core at the edge, against a bare handler.

A core is what the server itself used: CPU seconds of its process, user and system, for the
events that it acked. Wall-clock figures depend on what broker and load took of the machine
meanwhile; they are told beside it.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks import report, stage
from schemas.errors import PartMissing
from schemas.settings import ROOT
from streams.commands.broker import ensure_topics

SERVERS: Final = ("siyu", "bare", "blind")
BATCHES: Final = (1, 100)
CONNECTIONS: Final = 32
BAR: Final = 0.7
_START_TIMEOUT_S: Final = 60.0
_SOURCES: Final = "write_keys: {bench: {source: app, name: bench}}\n"


def run(*, events: int, rounds: int, quiet: bool) -> dict[str, Any]:
    """Run all servers in alternating rounds at both sizes; return the answer."""
    runs: dict[str, list[dict[str, Any]]] = {}
    folder = Path(tempfile.mkdtemp(prefix="siyu-bench-"))
    try:
        with stage.opened(quiet=quiet) as (broker, progress):
            ensure_topics(broker.settings)
            task = progress.add_task("collect", total=rounds * len(SERVERS) * len(BATCHES))
            for number in range(rounds):
                # Turned about, so that none always runs in the wake of the same other.
                order = SERVERS if number % 2 == 0 else SERVERS[::-1]
                for batch in BATCHES:
                    # A batch costs less per event: more of them, for runs of like length.
                    requests = events // batch if batch > 1 else events // 10
                    for server in order:
                        progress.update(task, description=f"{server}, batches of {batch}")
                        told = _measure(server, batch, requests, broker.settings.kafka, folder)
                        runs.setdefault(f"{server}_{batch}", []).append(told)
                        progress.advance(task)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _answer(runs, rounds)


def _measure(server: str, batch: int, requests: int, kafka: str, folder: Path) -> dict[str, Any]:
    with _serving(server, kafka, folder) as (process, port):
        _load(port, batch, max(requests // 10, 50))  # warm
        before_s = _cpu_s(process.pid)
        told = _load(port, batch, requests)
        told["cpu_s"] = _cpu_s(process.pid) - before_s
        told["rss_mb"] = _rss_mb(process.pid)
        return told


@contextmanager
def _serving(
    server: str, kafka: str, folder: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    sources = folder / "sources.yaml"
    sources.write_text(_SOURCES, "utf-8")
    argv = ["-m", "benchmarks.on_collect", server, kafka, str(port)]
    if server == "siyu":
        argv = ["-m", "streams.commands.cli", "collect"]
    env = {"SIYU_KAFKA": kafka, "SIYU_SOURCES": str(sources), "SIYU_COLLECT_PORT": str(port)}
    log = folder / f"{server}.log"
    with log.open("ab") as told:
        process = subprocess.Popen(
            [sys.executable, *argv], cwd=ROOT, env={**os.environ, **env}, stderr=told
        )
    try:
        _await_ready(process, port, log)
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    last = log.read_text("utf-8")[-1000:]
    raise PartMissing("bench server", f"does not serve: {last}", remedy="mend what its log tells")


def _load(port: int, batch: int, requests: int) -> dict[str, Any]:
    argv = ["-m", "benchmarks.load_collect", *map(str, (port, batch, requests, CONNECTIONS))]
    done = subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _answer(runs: dict[str, list[dict[str, Any]]], rounds: int) -> dict[str, Any]:
    results = {
        name: report.summary(
            [run["events"] / run["cpu_s"] for run in told],
            "events/s per core",
            wall_events_per_s=report.median([run["events"] / run["seconds"] for run in told]),
            p50_ms=report.median([run["p50_ms"] for run in told]),
            p99_ms=report.median([run["p99_ms"] for run in told]),
            cpu_s_per_100k=report.median([run["cpu_s"] * 1e5 / run["events"] for run in told]),
            peak_rss_mb=report.median([run["rss_mb"] for run in told]),
        )
        for name, told in runs.items()
    }
    ratios = {
        f"siyu_{batch}/{other}_{batch}": report.ratio(results, f"siyu_{batch}", f"{other}_{batch}")
        for batch in BATCHES
        for other in SERVERS[1:]
    }
    failed = sum(run["failed"] for told in runs.values() for run in told)
    return {
        "bench": "collect",
        "machine": report.machine(),
        "rounds": rounds,
        "connections": CONNECTIONS,
        "results": results,
        "ratios": ratios,
        "checks": {
            "every_request_was_answered_200": failed == 0,
            f"siyu_is_{BAR}_of_bare_at_100": ratios["siyu_100/bare_100"] >= BAR,
        },
    }


def _cpu_s(pid: int) -> float:
    """Return CPU seconds of a process so far, user and system."""
    if not Path("/proc").is_dir():
        told = subprocess.run(
            ["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=True
        ).stdout.strip()
        minutes, _, seconds = told.rpartition(":")
        return float(seconds) + 60 * sum(float(part) for part in minutes.split(":"))
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    told = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return int(told.stdout) / 1024
