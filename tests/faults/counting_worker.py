"""A worker that counts records per key: small enough to check every one of its outputs.

Run as ``python counting_worker.py PREFIX``: reads PREFIX.in, keeps one count per key in
PREFIX.state, writes one line per record to PREFIX.out inside the transaction, and a
touch for every tenth record of a key to PREFIX.touches, outside of it. Values that do
more: ``timer:MS`` wakes its key MS after the record's time, which writes a line too;
``big:BYTES`` writes a line of that size; ``boom`` raises.

On each assignment it logs the group's generation and what it got. The variables
COUNTING_* change it for a test (tests/faults/seeded_bugs.py); production has no such door.
"""

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from faust import App
from faust.types import TP

from schemas.errors import SiyuError
from schemas.settings import Settings
from schemas.topics import Topic
from streams.agents.ports import Batch, Lane, Record
from streams.commands import log
from streams.runtime.worker import Agent, FaustWorker
from tests.faults import seeded_bugs

PREFIX = sys.argv[1]
TOUCH_EVERY = 10


def process(lane: Lane, batch: Batch) -> None:
    for record in batch.records:
        if record.offset > lane.offset(record.key or b""):
            count(lane, record)


def count(lane: Lane, record: Record) -> None:
    key, value = record.key or b"", record.value or b""
    word, _, number = value.partition(b":")
    if word == b"boom":
        raise ValueError(f"boom at {lane.partition}:{record.offset}")
    count = int(lane.get(key) or b"0") + 1
    timer_ms = record.timestamp + int(number) if word == b"timer" else None
    lane.advance(record.timestamp)
    lane.put(key, str(count).encode(), offset=record.offset, timer_ms=timer_ms)
    line = f"{lane.partition}:{record.offset}:{count}".encode()
    lane.emit(f"{PREFIX}.out", key, line.ljust(int(number)) if word == b"big" else line)
    if count % TOUCH_EVERY == 0:
        touch = f"{key.decode()}:{count}:{record.offset}".encode()
        lane.emit_at_once(f"{PREFIX}.touches", key, touch, partition=lane.partition)


def wake(lane: Lane, key: bytes, now_ms: int) -> None:
    count = lane.get(key) or b""
    lane.emit(f"{PREFIX}.out", key, b"woken:" + count + b":%d" % now_ms)
    lane.put(key, count, offset=lane.offset(key))


def tell_generation(worker: FaustWorker) -> None:
    @worker.app.on_partitions_assigned.connect(weak=False)
    async def told(_: App, assigned: set[TP], **__: object) -> None:
        thread: Any = worker.app.consumer
        group = thread._thread._consumer._coordinator  # noqa: SLF001 - Faust hides it
        mine = sorted(tp.partition for tp in assigned if tp.topic == f"{PREFIX}.in")
        sys.stderr.write(f"generation={group.generation} partitions={mine}\n")


def main() -> int:
    log.configure(json_lines=False)
    seeded_bugs.sow(os.environ)
    agent = Agent(
        "count",
        source=Topic(f"{PREFIX}.in", "key", "bytes"),
        state=Topic(f"{PREFIX}.state", "key", "count", cleanup="compact"),
        process=process,
        wake=wake,
        outputs=(f"{PREFIX}.out",),
    )
    worker = FaustWorker(Settings(), f"{PREFIX}.group", [agent])
    tell_generation(worker)
    try:
        worker.run()
    except SiyuError as problem:
        sys.stderr.write(f"ended: {problem}\n")
        return problem.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
