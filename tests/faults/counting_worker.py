"""A worker that counts records per key: small enough to check every one of its outputs.

Run as ``python counting_worker.py PREFIX``: reads PREFIX.in, keeps one count per key in
PREFIX.state, writes one line per record to PREFIX.out inside the transaction, and a
touch for every tenth record of a key to PREFIX.touches, outside of it. A record whose
value is ``timer:MS`` wakes its key MS after the record's time; that writes a line too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from schemas.errors import SiyuError
from schemas.settings import Settings
from schemas.topics import Topic
from streams.agents.ports import Batch, Lane
from streams.runtime import log
from streams.runtime.worker import Agent, FaustWorker

PREFIX = sys.argv[1]
TOUCH_EVERY = 10


def process(lane: Lane, batch: Batch) -> None:
    for record in batch.records:
        key = record.key or b""
        if record.offset <= lane.offset(key):
            continue
        count = int(lane.get(key) or b"0") + 1
        value = record.value or b""
        timer_ms = None
        if value.startswith(b"timer:"):
            timer_ms = record.timestamp + int(value[6:])
        lane.advance(record.timestamp)
        lane.put(key, str(count).encode(), offset=record.offset, timer_ms=timer_ms)
        lane.emit(f"{PREFIX}.out", key, f"{lane.partition}:{record.offset}:{count}".encode())
        if count % TOUCH_EVERY == 0:
            touch = f"{key.decode()}:{count}:{record.offset}".encode()
            lane.emit_at_once(f"{PREFIX}.touches", key, touch, partition=lane.partition)


def wake(lane: Lane, key: bytes, now_ms: int) -> None:
    count = lane.get(key) or b""
    lane.emit(f"{PREFIX}.out", key, b"woken:" + count + b":%d" % now_ms)
    lane.put(key, count, offset=lane.offset(key))


def main() -> int:
    log.configure(json_lines=False)
    agent = Agent(
        "count",
        source=Topic(f"{PREFIX}.in", "key", "bytes"),
        state=Topic(f"{PREFIX}.state", "key", "count", cleanup="compact"),
        process=process,
        wake=wake,
        outputs=(f"{PREFIX}.out",),
    )
    try:
        FaustWorker(Settings(), f"{PREFIX}.group", [agent]).run()
    except SiyuError as problem:
        sys.stderr.write(f"ended: {problem}\n")
        return problem.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
