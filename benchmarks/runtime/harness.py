"""`siyu bench runtime`: the same job on each engine, in alternating rounds, proven equal."""

import shutil
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from benchmarks import peers, report, stage
from benchmarks.broker import Broker
from benchmarks.runtime import durable, job
from benchmarks.runtime.engines import ENGINES, Engine, execute, versions
from benchmarks.runtime.meter import Run

# Stock Faust does some 2,300 events/s: it gets a topic of its own with fewer events.
SLOW_EVENTS: Final = 30_000
MAX_PAUSE_MS: Final = 200.0
# (row, at least so many times, this peer)
# The row that agents are: `events` is canonical, so engage reads it with msgspec; the peers
# validate with pydantic. The pydantic row stands beside it, with its ratios.
OURS: Final = "siyu-msgspec"
BARS: Final = (
    (OURS, 40.0, "faust"),
    (OURS, 3.0, "quix"),
    (OURS, 3.0, "bytewax"),
    (OURS, 1.0, "aiokafka"),
)


@dataclass
class Row:
    """What the rounds of one engine gave."""

    engine: Engine
    python: Path
    runs: list[dict[str, Any]] = field(default_factory=list)


class Bench:
    """One run of the bench: its topics, its rows, its progress."""

    def __init__(self, broker: Broker, progress: Progress, *, users: int) -> None:
        self.broker, self.progress, self.users = broker, progress, users
        self.rows: dict[str, Row] = {}
        self.sources: dict[int, tuple[str, job.Expected]] = {}

    def source(self, events: int) -> tuple[str, job.Expected]:
        """Return the topic of so many events, and what they must lead to."""
        if events not in self.sources:
            topic, expected = f"{self.broker.prefix}.events-{events}", job.Expected()
            self.broker.make(topic, job.PARTITIONS)
            task = self.progress.add_task("filling the topic", total=events)
            records = job.make(events, self.users, expected)
            self.broker.fill(
                topic, job.PARTITIONS, records, lambda n: self.progress.advance(task, n)
            )
            self.progress.remove_task(task)
            self.sources[events] = topic, expected
        return self.sources[events]

    def measure(self, name: str, events: int, label: str) -> None:
        """Run one engine once, on topics of its own; compare what came of it."""
        row = self.rows[name]
        source, expected = self.source(events)
        group = f"{self.broker.prefix}-{uuid.uuid4().hex[:6]}"
        folder = tempfile.mkdtemp(prefix="siyu-bench-")
        run = Run(
            kafka=self.broker.settings.kafka,
            source=source,
            touches=f"{group}.touches",
            state=f"{group}.state",
            group=group,
            folder=folder,
            events=events,
            validate=row.engine.validate,
        )
        self.broker.make(run.touches, job.PARTITIONS)
        if row.engine.program == "siyu":
            self.broker.make(run.state, job.PARTITIONS, cleanup_policy="compact")
        task = self.progress.add_task(f"{label} {name}", total=events)
        try:
            told = execute(row.engine, row.python, run, lambda n: self.progress.advance(task, n))
            row.runs.append({**told, **self._proof(row.engine, run, expected)})
        finally:
            self.progress.remove_task(task)
            self.broker.wipe(group)
            shutil.rmtree(folder, ignore_errors=True)

    def _proof(self, engine: Engine, run: Run, expected: job.Expected) -> dict[str, Any]:
        values = [value for _, value in self.broker.read(run.touches) if value is not None]
        touches = set(map(job.touch_id, values))
        proof = {
            "touches": len(touches),
            "touches_equal": touches == expected.touches,
            "touches_sent": len(values),
        }
        if engine.stateful:
            counts = durable.COUNTS_OF[engine.program](self.broker, run)
            proof["counted"] = sum(counts.values())
            proof["counts_equal"] = counts == expected.counts
        return proof

    def result(self, name: str, events: int) -> dict[str, Any]:
        """Return the engine's row of ``results``."""
        row = self.rows[name]
        engine, runs = row.engine, row.runs
        worst = max(runs, key=lambda run: float(run["largest_pause_ms"]))
        more = {
            "events": events,
            "validate": engine.validate,
            "durable_state": engine.stateful,
            "cpu_s_per_100k": report.median([1e5 * r["cpu_s"] / r["events"] for r in runs]),
            "peak_rss_mb": report.median([r["peak_rss_bytes"] / 1e6 for r in runs]),
            "largest_pause_ms": round(worst["largest_pause_ms"], 1),
            "touches": sorted({run["touches"] for run in runs}),
            "touches_equal": all(run["touches_equal"] for run in runs),
            "versions": versions(row.python, engine.package),
        }
        if engine.stateful:
            more["counted"] = sorted({run["counted"] for run in runs})
            more["counts_equal"] = all(run["counts_equal"] for run in runs)
        per_s = [run["events"] / run["window_s"] for run in runs]
        return report.summary(per_s, "events/s", **more)


def run(*, vs: Sequence[str], events: int, users: int, rounds: int, quiet: bool) -> dict[str, Any]:
    """Run the bench on the running stack (brought up if it is not); return the report."""
    own = any(ENGINES[name].own_venv for name in vs)
    console = Console(stderr=True, quiet=quiet)
    peers_python = peers.ensure(console.print) if own else Path(sys.executable)
    with stage.opened(quiet=quiet) as (broker, progress):
        bench = Bench(broker, progress, users=users)
        _measure_all(bench, vs, events, rounds, peers_python)
    return _report(bench, vs, events, rounds)


def events_of(name: str, events: int) -> int:
    """Return how many events an engine gets."""
    return min(events, SLOW_EVENTS) if ENGINES[name].slow else events


def _measure_all(
    bench: Bench, vs: Sequence[str], events: int, rounds: int, peers_python: Path
) -> None:
    for name in ("siyu", "siyu-msgspec", *vs):
        python = peers_python if ENGINES[name].own_venv else Path(sys.executable)
        bench.rows[name] = Row(ENGINES[name], python)
    # Siyu runs before each peer: a slow spell of the machine hits both sides alike.
    turns = [name for peer in ("siyu-msgspec", *vs) for name in ("siyu", peer)]
    for number in range(1, rounds + 1):
        for name in turns:
            bench.measure(name, events_of(name, events), f"round {number}/{rounds}")


def _report(bench: Bench, vs: Sequence[str], events: int, rounds: int) -> dict[str, Any]:
    results = {name: bench.result(name, events_of(name, events)) for name in bench.rows}
    pairs = [(a, b) for b in vs for a in ("siyu", "siyu-msgspec")]
    ratios = {f"{a}/{b}": report.ratio(results, a, b) for a, b in pairs}
    checks = {
        f"{a} >= {least:g}x {b}": ratios[f"{a}/{b}"] >= least for a, least, b in BARS if b in vs
    }
    checks["touch counts equal"] = all(row["touches_equal"] for row in results.values())
    checks["state counts equal"] = all(row.get("counts_equal", True) for row in results.values())
    checks["no pause above 200 ms"] = results[OURS]["largest_pause_ms"] <= MAX_PAUSE_MS
    source = bench.sources[events][1]
    return {
        "bench": "runtime",
        "machine": report.machine(),
        "rounds": rounds,
        "job": {
            "events": events,
            "events_of_slow_engines": min(events, SLOW_EVENTS),
            "users": bench.users,
            "partitions": job.PARTITIONS,
            "bytes_per_event": round(source.bytes / events),
            "touches": len(source.touches),
        },
        "results": results,
        "ratios": ratios,
        "cpu_ratios": {
            f"{a}/{b}": round(results[b]["cpu_s_per_100k"] / results[a]["cpu_s_per_100k"], 2)
            for a, b in pairs
        },
        "checks": checks,
    }
