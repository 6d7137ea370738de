"""Runs counting workers on topics of their own, and the oracle that judges them.

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
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

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

    def start(self, crash_at: str = "", **settings: str) -> subprocess.Popen[bytes]:
        """Start a worker; *settings* are SIYU_* variables without the prefix."""
        env = {
            **os.environ,
            **{f"SIYU_{name.upper()}": value for name, value in settings.items()},
            "SIYU_KAFKA": self.kafka,
            "SIYU_CRASH_AT": crash_at,
            "SIYU_WORKER_SESSION_TIMEOUT_S": str(SESSION_S),
            "SIYU_WORKER_BATCH_RECORDS": "100",
        }
        worker = subprocess.Popen([sys.executable, str(PROGRAM), self.prefix], env=env)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        """End all workers."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
                worker.wait()

    async def produce(
        self, records: int, *, start: int = 0, pause_s: float = 0.0, value: bytes = b"x"
    ) -> None:
        """Send records over all keys, with a pause after each 500."""
        async with AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all") as producer:
            for i in range(start, start + records):
                sent = await producer.send(
                    f"{self.prefix}.in", key=f"k{i * 7919 % KEYS}".encode(), value=value
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
        """Return when that many lines are committed."""
        deadline = time.monotonic() + DEADLINE_S
        while (seen := len(await self.read("out"))) < count:
            assert time.monotonic() < deadline, f"{seen} of {count} outputs"
            await asyncio.sleep(0.3)

    async def outputs(self, *, woken: bool) -> list[tuple[bytes, bytes]]:
        """Return (key, line) of what records made, or of what timers made."""
        found = await self.read("out")
        return [(k, v) for k, v, *_ in found if v.startswith(b"woken:") == woken]

    async def timer_times(self) -> list[tuple[bytes, int]]:
        """Return (key, epoch ms) of every ``timer:MS`` record of the input."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
        async with consumer:
            tps = [TopicPartition(f"{self.prefix}.in", p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            await consumer.seek_to_beginning()
            found: list[tuple[bytes, int]] = []
            while fetched := await consumer.getmany(timeout_ms=1500):
                for records in fetched.values():
                    found += [(r.key, r.timestamp + int(r.value[6:])) for r in records]
            return found

    async def check(self) -> None:
        """Compare outputs, touches and state with a fold over the input."""
        counts: Counter[bytes] = Counter()
        outputs: list[tuple[bytes, bytes]] = []
        touches: set[bytes] = set()
        log = sorted(await self.read("in"), key=lambda record: record[2:])
        for key, _, partition, offset in log:
            counts[key] += 1
            outputs.append((key, f"{partition}:{offset}:{counts[key]}".encode()))
            if counts[key] % TOUCH_EVERY == 0:
                touches.add(f"{key.decode()}:{counts[key]}:{offset}".encode())
        assert sorted(await self.outputs(woken=False)) == sorted(outputs)
        assert {value for _, value, *_ in await self.read("touches")} == touches
        state = {key: value for key, value, *_ in await self.read("state")}
        # The first 17 bytes are version, offset and timer (streams/runtime/table.py).
        assert {key: int(value[17:]) for key, value in state.items()} == dict(counts)
