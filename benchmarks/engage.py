"""`siyu bench engage`: the full engage agent against Quix Streams on its three-line job.

The same facts, spelled as each side reads them: the peer's JSON, and canonical events. The
agent keeps 20 tags and runs 20 rules; its state, tag changes, decisions and offsets are one
transaction each tenth of a second. The peer counts, sums and keeps a category, at least once.
"""

import json
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from benchmarks import peers, report, stage
from benchmarks.broker import Broker
from benchmarks.runtime import job
from benchmarks.runtime.engines import ENGINES, Engine, execute
from benchmarks.runtime.harness import Bench, Row
from benchmarks.runtime.meter import Run
from schemas.events import Event, encode_event
from schemas.touches import decode_decision, decode_tag_changes
from streams.authoring.load import load_rulebook
from streams.core.engine import Engine as Core
from streams.runtime.state.shard import HEADER_BYTES

_HERE: Final = Path(__file__).parent
_ENGAGE: Final = Engine("engage", "engage", "faust-streaming", validate="msgspec")
_ENTERS_AT: Final = 50


class EngageBench(Bench):
    """The peer's rounds as in `siyu bench runtime`, and the agent's beside them."""

    def __init__(self, broker: Broker, progress: Progress, *, users: int, events: int) -> None:
        super().__init__(broker, progress, users=users)
        self.events, self.expected = events, job.Expected()
        self.topic = f"{broker.prefix}.canonical"
        broker.make(self.topic, job.PARTITIONS)
        task = progress.add_task("filling the agent's topic", total=events)
        broker.fill(
            self.topic,
            job.PARTITIONS,
            canonical(events, users, self.expected),
            lambda n: progress.advance(task, n),
        )
        progress.remove_task(task)

    def engage(self, label: str) -> None:
        """Run the agent once, on topics of its own; compare what came of it."""
        group = f"{self.broker.prefix}-{uuid.uuid4().hex[:6]}"
        folder = Path(tempfile.mkdtemp(prefix="siyu-bench-"))
        run = Run(
            kafka=self.broker.settings.kafka,
            source=self.topic,
            touches=f"{group}.touches",
            state=f"{group}.state",
            group=group,
            folder=str(folder),
            events=self.events,
        )
        for topic in (run.touches, f"{group}.tags", f"{group}.decisions"):
            self.broker.make(topic, job.PARTITIONS)
        self.broker.make(run.state, job.PARTITIONS, cleanup_policy="compact")
        task = self.progress.add_task(f"{label} engage", total=self.events)
        try:
            core = Core(load_rulebook(_book(folder / "book")))
            told = execute(
                _ENGAGE, Path(sys.executable), run, lambda n: self.progress.advance(task, n)
            )
            self.rows["engage"].runs.append({**told, **self._proven(core, run)})
        finally:
            self.progress.remove_task(task)
            self.broker.wipe(group)
            shutil.rmtree(folder, ignore_errors=True)

    def _proven(self, core: Core, run: Run) -> dict[str, Any]:
        """Hold what is durable against what the events must lead to."""
        latest = {key.decode(): value for key, value in self.broker.read(run.state) if value}
        states = {user: core.load(value[HEADER_BYTES:]) for user, value in latest.items()}
        views = {user: core.read_tag(state, "views", 0) for user, state in states.items()}
        wanted = {f"user_id:{user}": count for user, count in self.expected.counts.items()}
        values = [value for _, value in self.broker.read(f"{run.group}.decisions") if value]
        decisions = [decode_decision(value) for value in values]
        records = [value for _, value in self.broker.read(f"{run.group}.tags") if value]
        changes = [tag for one in records for tag, _, _ in decode_tag_changes(one).changes]
        return {
            "counts_equal": views == wanted,
            "changes_equal": changes.count("views") == self.expected.events,
            "decisions_equal": sorted(one.user for one in decisions if one.rule == "fifty")
            == sorted(user for user, count in wanted.items() if count >= _ENTERS_AT),
            "changes": len(changes),
            "decisions": len(decisions),
        }

    def answer(self, rounds: int) -> dict[str, Any]:
        """Return the report."""
        runs = self.rows["engage"].runs
        proofs = ("counts_equal", "changes_equal", "decisions_equal")
        engage = report.summary(
            [run["events"] / run["window_s"] for run in runs],
            "events/s",
            events=self.events,
            cpu_s_per_100k=report.median([1e5 * run["cpu_s"] / run["events"] for run in runs]),
            peak_rss_mb=report.median([run["peak_rss_bytes"] / 1e6 for run in runs]),
            largest_pause_ms=round(max(run["largest_pause_ms"] for run in runs), 1),
            changes_per_event=round(runs[-1]["changes"] / self.events, 2),
            decisions_per_event=round(runs[-1]["decisions"] / self.events, 4),
            **{proof: all(run[proof] for run in runs) for proof in proofs},
        )
        results = {"engage": engage, "quix": self.result("quix", self.events)}
        quix = results["quix"]
        return {
            "bench": "engage",
            "machine": report.machine(),
            "rounds": rounds,
            "results": results,
            "ratios": {"engage/quix": report.ratio(results, "engage", "quix")},
            "cpu_ratios": {
                "engage/quix": round(quix["cpu_s_per_100k"] / engage["cpu_s_per_100k"], 2)
            },
            "checks": {
                "engage_faster_than_quix": engage["median"] > quix["median"],
                "engage_did_the_job": all(engage[proof] for proof in proofs),
                "quix_did_the_job": quix["counts_equal"] and quix["touches_equal"],
            },
        }


def run(*, events: int, users: int, rounds: int, quiet: bool) -> dict[str, Any]:
    """Run both in alternating rounds; return the report."""
    peers_python = peers.ensure(Console(stderr=True, quiet=quiet).print)
    with stage.opened(quiet=quiet) as (broker, progress):
        bench = EngageBench(broker, progress, users=users, events=events)
        bench.rows["engage"] = Row(_ENGAGE, Path(sys.executable))
        bench.rows["quix"] = Row(ENGINES["quix"], peers_python)
        for number in range(1, rounds + 1):
            label = f"round {number}/{rounds}"
            bench.engage(label)
            bench.measure("quix", events, label)
    return bench.answer(rounds)


def canonical(events: int, users: int, expected: job.Expected) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) of the job's events as ingest would write them; fills *expected*."""
    for _, value in job.make(events, users, expected):
        raw = json.loads(value)
        at_ms = round(datetime.fromisoformat(raw["timestamp"]).timestamp() * 1000)
        of, user = raw["properties"], f"user_id:{raw['userId']}"
        one = Event(
            message_id=raw["messageId"],
            type="track",
            event=raw["event"],
            user=user,
            source="app",
            door="segment",
            account="bench",
            timestamp_ms=at_ms,
            received_at_ms=at_ms + 50,
            user_id=raw["userId"],
            identities={"user_id": raw["userId"]},
            context=raw["context"],
            properties={
                "sku": of["sku"],
                "category": of["category"],
                "price": of["amount_fen"] / 100,
                "quantity": of["quantity"],
            },
        )
        yield user.encode(), encode_event(one)


def _book(folder: Path) -> Path:
    folder.mkdir()
    for name in ("tags.yaml", "engage.yaml"):
        shutil.copy(_HERE / name, folder)
    return folder
