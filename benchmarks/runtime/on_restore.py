"""A worker that restores its partitions and tells how long that took and what it weighs."""

import json
import resource
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.runtime.job import PARTITIONS
from benchmarks.runtime.meter import Run
from schemas.settings import Settings
from schemas.topics import Topic
from streams.agents.ports import Batch, Lane
from streams.commands import log
from streams.kafka_client.producing import partition_of
from streams.runtime.worker import Agent, FaustWorker

SAMPLES: Final = 1000


class Restoring:
    """Notes when the partitions came and when the last of them processed a batch."""

    def __init__(self, users: int) -> None:
        step = max(1, users // SAMPLES)
        self._samples = [f"user-{i:08d}".encode() for i in range(0, users, step)]
        self._found, self._restored = 0, set[int]()
        self._began_s = self._cpu_s = 0.0
        self._rss_bytes = 0

    async def assigned(self, *sent: Any, **__: Any) -> None:  # noqa: ANN401 - Faust's signal
        """Begin when the first partitions come."""
        if sent[1] and not self._began_s:
            self._began_s, self._cpu_s = time.monotonic(), time.process_time()
            self._rss_bytes = rss_bytes()

    def process(self, lane: Lane, batch: Batch) -> None:
        """Look for the sampled users of this partition; tell when all partitions have been here."""
        self._restored.add(batch.partition)
        mine = (k for k in self._samples if partition_of(k, PARTITIONS) == lane.partition)
        self._found += sum(lane.get(key) is not None for key in mine)
        if len(self._restored) == PARTITIONS:
            now_bytes = rss_bytes()
            line = {
                "done": len(self._samples),
                "seconds": time.monotonic() - self._began_s,
                "cpu_s": time.process_time() - self._cpu_s,
                "rss_bytes": now_bytes,
                "rss_grown_bytes": now_bytes - self._rss_bytes,
                "sampled": len(self._samples),
                "found": self._found,
            }
            print(json.dumps(line), flush=True)


def rss_bytes() -> int:
    """Return the memory that this process has now (its peak where that cannot be read)."""
    try:
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


def main() -> None:
    """Run until SIGTERM."""
    log.configure(json_lines=False)
    run = Run.from_argv()
    restoring = Restoring(run.events)
    agent = Agent(
        "restore",
        source=Topic(run.source, "partition", "bytes"),
        state=Topic(run.state, "user", "packed state", cleanup="compact"),
        process=restoring.process,
    )
    worker = FaustWorker(Settings(kafka=run.kafka), run.group, [agent])
    worker.app.on_partitions_assigned.connect(restoring.assigned)
    worker.run()


if __name__ == "__main__":
    main()
