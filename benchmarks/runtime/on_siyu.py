"""The job on Siyu's runtime: one synchronous call a batch, state and offset in one transaction."""

import sys

from benchmarks.runtime import job
from benchmarks.runtime.meter import Meter, Run
from schemas.errors import SiyuError
from schemas.settings import Settings
from schemas.topics import Topic
from streams.agents.ports import Batch, Lane
from streams.commands import log
from streams.runtime.worker import Agent, FaustWorker


def main() -> int:
    """Run until SIGTERM."""
    log.configure(json_lines=False)
    run = Run.from_argv()
    meter = Meter(run.events)
    validate, fold = job.VALIDATE[run.validate], job.fold
    pack, unpack = job.pack, job.unpack

    def process(lane: Lane, batch: Batch) -> None:
        get, put, offset_of = lane.get, lane.put, lane.offset
        for record in batch.records:
            key = record.key or b""
            if record.offset <= offset_of(key):
                continue
            state, touch = fold(unpack(get(key)), validate(record.value or b""))
            put(key, pack(state), offset=record.offset)
            if touch is not None:
                value = job.encode_touch(touch)
                lane.emit_at_once(run.touches, key, value, partition=lane.partition)
        meter.add(len(batch.records))

    agent = Agent(
        "fold",
        source=Topic(run.source, "user", "bytes"),
        state=Topic(run.state, "user", "packed state", cleanup="compact"),
        process=process,
    )
    return work(run, agent)


def work(run: Run, agent: Agent) -> int:
    """Run an agent until SIGTERM; return the exit status."""
    try:
        FaustWorker(Settings(kafka=run.kafka), run.group, [agent]).run()
    except SiyuError as problem:
        sys.stderr.write(f"{problem}\n")
        return problem.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
