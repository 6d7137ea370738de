"""The worker is killed at named points, frozen past its session and moved about under load.

The oracle is a fold over the input log that shares no code with the runtime.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

pytestmark = [pytest.mark.faults, pytest.mark.integration]

PROGRAM = Path(__file__).with_name("counting_worker.py")
PARTITIONS = 3
KEYS = 97
RECORDS = 6000
TOUCH_EVERY = 10
DEADLINE_S = 90.0
SESSION_S = 6.0


@dataclass
class Run:
    """One set of topics and the workers that were started on them."""

    kafka: str
    prefix: str = field(default_factory=lambda: f"kill-{uuid.uuid4().hex[:8]}")
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, crash_at: str = "") -> subprocess.Popen[bytes]:
        env = {
            **os.environ,
            "SIYU_KAFKA": self.kafka,
            "SIYU_CRASH_AT": crash_at,
            "SIYU_WORKER_SESSION_TIMEOUT_S": str(SESSION_S),
            "SIYU_WORKER_BATCH_RECORDS": "100",
        }
        worker = subprocess.Popen([sys.executable, str(PROGRAM), self.prefix], env=env)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
                worker.wait()

    async def produce(self, records: int, *, start: int = 0, pause_s: float = 0.0) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all") as producer:
            for i in range(start, start + records):
                sent = await producer.send(
                    f"{self.prefix}.in", key=f"k{i * 7919 % KEYS}".encode(), value=b"x"
                )
                if i % 500 == 499:
                    await sent
                    await asyncio.sleep(pause_s)
            await producer.flush()

    async def read(self, topic: str) -> list[tuple[bytes, bytes, int, int]]:
        """Return (key, value, partition, offset) of all that is committed in a topic."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka, isolation_level="read_committed", fetch_max_wait_ms=50
        )
        await consumer.start()
        try:
            tps = [TopicPartition(f"{self.prefix}.{topic}", p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(tps)
            found = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    found += [(r.key, r.value, tp.partition, r.offset) for r in records]
            return found
        finally:
            await consumer.stop()

    async def wait_for_outputs(self, count: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while (seen := len(await self.read("out"))) < count:
            assert time.monotonic() < deadline, f"{seen} of {count} outputs"
            await asyncio.sleep(0.3)

    async def wait_for_progress(self, count: int) -> None:
        await self.wait_for_outputs(count)

    async def check(self) -> None:
        """Compare outputs, touches and state with a fold over the input."""
        counts: Counter[bytes] = Counter()
        outputs: list[tuple[bytes, bytes]] = []
        touches: set[bytes] = set()
        for key, _, partition, offset in sorted(
            await self.read("in"), key=lambda record: (record[2], record[3])
        ):
            counts[key] += 1
            outputs.append((key, f"{partition}:{offset}:{counts[key]}".encode()))
            if counts[key] % TOUCH_EVERY == 0:
                touches.add(f"{key.decode()}:{counts[key]}:{offset}".encode())
        assert sorted((k, v) for k, v, *_ in await self.read("out")) == sorted(outputs)
        assert {value for _, value, *_ in await self.read("touches")} == touches
        state = {key: value for key, value, *_ in await self.read("state")}
        # The first 17 bytes are version, offset and timer (streams/runtime/table.py).
        assert {key: int(value[17:]) for key, value in state.items()} == dict(counts)


@pytest.fixture
def run(kafka: str) -> Iterator[Run]:
    made = Run(kafka)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    names = [f"{made.prefix}.{name}" for name in ("in", "out", "touches", "state")]
    admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    try:
        yield made
    finally:
        made.stop()
        admin.delete_topics(names)
        admin.close()


@pytest.mark.parametrize(
    "point",
    [
        "worker.after_touches:2",
        "worker.after_touches:5",
        "worker.after_state:1",
        "worker.after_state:6",
        "worker.after_commit:1",
        "worker.after_commit:4",
        "worker.restored:2",
    ],
)
def test_a_kill_at_any_point_neither_loses_nor_doubles(run: Run, point: str) -> None:
    asyncio.run(run.produce(RECORDS))
    killed = run.start(crash_at=point)
    assert killed.wait(DEADLINE_S) == -signal.SIGKILL
    run.start()
    asyncio.run(run.wait_for_outputs(RECORDS))
    asyncio.run(run.check())


def test_workers_that_come_and_go_under_load_neither_lose_nor_double(run: Run) -> None:
    async def scenario() -> None:
        load = asyncio.create_task(run.produce(RECORDS, pause_s=0.8))
        first, second = run.start(), run.start()
        await run.wait_for_outputs(1000)
        run.start()
        await run.wait_for_outputs(2500)
        first.kill()
        await asyncio.to_thread(second.terminate)
        await load
        await run.wait_for_outputs(RECORDS)
        await run.check()

    asyncio.run(scenario())


def test_a_frozen_worker_that_wakes_after_its_successor_is_fenced(run: Run) -> None:
    async def scenario() -> None:
        await run.produce(RECORDS // 2)
        zombie = run.start()
        await run.wait_for_outputs(500)
        zombie.send_signal(signal.SIGSTOP)
        await run.produce(RECORDS // 2, start=RECORDS // 2)
        run.start()
        await run.wait_for_outputs(RECORDS)
        zombie.send_signal(signal.SIGCONT)
        await asyncio.sleep(3 * SESSION_S / 2)
        await run.produce(1000, start=RECORDS)
        await run.wait_for_outputs(RECORDS + 1000)
        await run.check()

    asyncio.run(scenario())
