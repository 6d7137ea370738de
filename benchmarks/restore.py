"""`siyu bench restore`: how long a worker without its state takes to have it again.

Fills a state topic with packed values, starts a worker on it as after the loss of a
machine, and takes the time from its partitions' assignment to the first batch that
each of them processes.
"""

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.progress import Progress

from benchmarks import report, stage
from benchmarks.broker import Broker
from benchmarks.runtime import job
from benchmarks.runtime.engines import Engine, execute
from benchmarks.runtime.meter import Run
from streams.runtime.state.shard import pack_value

PACKED_BYTES: Final = 180  # with the header and the key about 200 bytes a user
MAX_S: Final = 60.0
_WORKER: Final = Engine("restore", "restore", "faust-streaming")


def run(*, users: int, rounds: int, quiet: bool) -> dict[str, Any]:
    """Run the bench on the running stack (brought up if it is not); return the report."""
    with stage.opened(quiet=quiet) as (broker, progress):
        source, state = f"{broker.prefix}.in", f"{broker.prefix}.state"
        broker.make(source, job.PARTITIONS)
        broker.make(state, job.PARTITIONS, cleanup_policy="compact")
        _fill(broker, progress, state, source, users)
        runs = [
            _restore(broker, progress, state, source, users=users, label=f"round {number}/{rounds}")
            for number in range(1, rounds + 1)
        ]
    return _report(runs, users, rounds)


def _fill(broker: Broker, progress: Progress, state: str, source: str, users: int) -> None:
    task = progress.add_task("filling the changelog", total=users)
    broker.fill(state, job.PARTITIONS, _values(users), lambda n: progress.advance(task, n))
    progress.remove_task(task)
    # One event a partition: it can be processed only once the partition's state is there.
    for partition in range(job.PARTITIONS):
        broker.send_one(source, partition, b"probe", b"probe")


def _values(users: int) -> Iterator[tuple[bytes, bytes]]:
    tail = bytes(PACKED_BYTES - 8)
    for i in range(users):
        packed = i.to_bytes(8, "big") + tail
        yield f"user-{i:08d}".encode(), pack_value(packed, offset=i, timer_ms=None)


def _restore(
    broker: Broker, progress: Progress, state: str, source: str, *, users: int, label: str
) -> dict[str, Any]:
    group = f"{broker.prefix}-{uuid.uuid4().hex[:6]}"
    told = Run(
        kafka=broker.settings.kafka,
        source=source,
        touches="",
        state=state,
        group=group,
        folder="",
        events=users,
    )
    task = progress.add_task(label, total=None)
    try:
        return execute(_WORKER, Path(sys.executable), told, lambda _: None)
    finally:
        progress.remove_task(task)


def _report(runs: list[dict[str, Any]], users: int, rounds: int) -> dict[str, Any]:
    took = report.summary(
        [run["seconds"] for run in runs],
        "s",
        users=users,
        partitions=job.PARTITIONS,
        packed_bytes=PACKED_BYTES,
        users_per_s=report.median([users / run["seconds"] for run in runs]),
        bytes_per_user=report.median([run["rss_grown_bytes"] / users for run in runs]),
        rss_mb=report.median([run["rss_bytes"] / 1e6 for run in runs]),
        cpu_s=report.median([run["cpu_s"] for run in runs]),
        users_found=sorted({run["found"] for run in runs}),
    )
    return {
        "bench": "restore",
        "machine": report.machine(),
        "rounds": rounds,
        "results": {"restore": took},
        "ratios": {},
        "checks": {
            "sampled users are there": all(run["found"] == run["sampled"] for run in runs),
            "restored in under 60 s": took["median"] < MAX_S,
        },
    }
