"""Runs counting workers on topics of their own, and the oracle that judges them.

The oracle is a fold over the input log that shares no code with the runtime.
"""

import asyncio
import contextlib
import inspect
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from kafka import KafkaAdminClient, KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.admin import ConfigResource, ConfigResourceType

PROGRAM = Path(__file__).with_name("counting_worker.py")
PARTITIONS = 3
KEYS = 97
TOUCH_EVERY = 10
DEADLINE_S = 90.0
SESSION_S = 3.0
# A worker ends so rather than go on past a hole; none of its own making may there be.
LOST_BATCH = "a batch between"
# Ends that a supervisor answers with a restart: fenced by a successor, broker away.
RESTARTABLE = (1, 3)


async def until(
    condition: Callable[[], Any], problem: Callable[[], str], *, pause_s: float = 0.05
) -> Any:  # noqa: ANN401 - whatever is waited for
    """Return the value of a condition, async or not, once it is neither false nor ``None``.

    Fails with the problem when the deadline has passed.
    """
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value is not None and value is not False:
            return value
        assert time.monotonic() < deadline_s, problem()
        await asyncio.sleep(pause_s)


class Worker:
    """One worker process and what it wrote to stderr; *buggy* if a fault was sown into it."""

    buggy = False

    def __init__(self, argv: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(argv, env=env, stderr=stderr)

    def said(self) -> str:
        """Return its log so far."""
        return self.log.read_text("utf-8", "replace")

    def figures(self, name: str) -> list[int]:
        """Return the numbers that it told as ``name=N``, in order."""
        return [int(number) for number in re.findall(rf"^{name}=(\d+)", self.said(), re.MULTILINE)]

    def owned(self) -> set[int]:
        """Return the partitions that it got by its last assignment."""
        told = re.findall(r"^generation=\d+ partitions=\[(.*)\]", self.said(), re.MULTILINE)
        return {int(number) for number in told[-1].split(",") if number.strip()} if told else set()

    def followed(self) -> dict[int, int]:
        """Return how far its standbys have come, by partition (with ``counting_tell_standby``)."""
        told = re.findall(r"^standby=(\d+) position=(\d+)$", self.said(), re.MULTILINE)
        return {int(partition): int(position) for partition, position in told}

    def restored(self) -> list[int]:
        """Return how many changelog records each of its restores read, in order."""
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.said())
        lines = [line for line in plain.splitlines() if " restored " in line]
        return [int(line.rpartition("records=")[2].split()[0]) for line in lines]

    async def said_so(self, words: str) -> None:
        """Return once its log has these words."""
        await self._until(lambda: words in self.said(), f"it never said {words!r}")

    @property
    def alive(self) -> bool:
        """Tell whether it runs."""
        return self.process.poll() is None

    async def ended(self) -> int:
        """Return its exit status, negative for a signal, once it ended."""
        return int(await self._until(self.process.poll, "it did not end"))

    async def stopped(self) -> None:
        """Return once SIGSTOP has taken effect."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        await self._until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "no stop")

    async def assigned(self, times: int = 1) -> None:
        """Return once it got partitions for the Nth time."""
        await self._until(lambda: len(self.figures("generation")) >= times, "no assignment")

    async def _until(self, condition: Callable[[], Any], problem: str) -> Any:  # noqa: ANN401 - as above
        return await until(condition, lambda: f"{problem}: {self.said()[-2000:]}")

    def rss_mb(self) -> float:
        """Return its resident memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0

    def kill(self) -> None:
        """End it by SIGKILL, also when it is stopped, and wait."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


@dataclass
class Run:
    """One set of topics and the workers that were started on them."""

    kafka: str
    folder: Path
    prefix: str = field(default_factory=lambda: f"kill-{uuid.uuid4().hex[:8]}")
    workers: list[Worker] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def start(self, crash_at: str = "", stop_at: str = "", **settings: str) -> Worker:
        """Start a worker; *settings* are SIYU_* variables without the prefix, in lower case.

        ``counting_*`` ones keep their name: see tests/faults/seeded_bugs.py.
        """
        told = {
            "worker_session_timeout_s": str(SESSION_S),
            "worker_batch_records": "100",
            **self.settings,
            **settings,
            "kafka": self.kafka,
            "crash_at": crash_at,
            "stop_at": stop_at,
        }
        env = {
            name.upper() if name.startswith("counting_") else f"SIYU_{name.upper()}": value
            for name, value in told.items()
        }
        worker = self.launch([str(PROGRAM), self.prefix], env)
        worker.buggy = "counting_bug" in told
        return worker

    def launch(self, argv: list[str], env: Mapping[str, str]) -> Worker:
        """Start any Python program as a worker of this run."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = Worker([sys.executable, *argv], {**os.environ, **env}, log)
        self.workers.append(worker)
        return worker

    def configure(self, topic: str, **config: str) -> None:
        """Set options of a topic, dots written as underscores."""
        options = {name.replace("_", "."): value for name, value in config.items()}
        admin = KafkaAdminClient(bootstrap_servers=self.kafka)
        try:
            name = f"{self.prefix}.{topic}"
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=options)])
        finally:
            admin.close()

    def stop(self) -> None:
        """End all workers."""
        for worker in self.workers:
            if worker.alive:
                worker.kill()

    # -- load ---------------------------------------------------------------------

    async def produce(
        self, records: int, *, start: int = 0, pause_s: float = 0.0, value: bytes = b"x"
    ) -> None:
        """Send records over all keys, with a pause after each 500."""
        keys = (f"k{i * 7919 % KEYS}".encode() for i in itertools.count(start))
        chunks = [min(500, records - sent) for sent in range(0, records, 500)]
        for chunk in chunks:
            await self.send([(next(keys), value) for _ in range(chunk)])
            await asyncio.sleep(pause_s)

    async def send(
        self, items: Iterable[tuple[bytes, bytes]], partition: int | None = None
    ) -> None:
        """Send these records and wait for their acks."""
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all")
        try:
            await producer.start()
            for key, value in items:
                await producer.send(f"{self.prefix}.in", key=key, value=value, partition=partition)
            await producer.flush()
        finally:
            await producer.stop()

    async def feed(self, until: asyncio.Event, chunk: int = 200) -> None:
        """Send chunks of seeded keys, some hot, until told to stop."""
        weights = [1 / (rank + 1) for rank in range(KEYS)]
        while not until.is_set():
            ranks = self.rng.choices(range(KEYS), weights, k=chunk)
            # A broker that is down takes nothing; what it took is in the log, and counts.
            with contextlib.suppress(KafkaError):
                await self.send((f"k{rank}".encode(), b"x") for rank in ranks)
            await asyncio.sleep(0.2)

    # -- what the topics hold -----------------------------------------------------

    async def read(
        self, topic: str, *, committed_only: bool = True
    ) -> list[tuple[bytes, bytes, int, int]]:
        """Return (key, value, partition, offset) of all that a topic holds now."""
        level = "read_committed" if committed_only else "read_uncommitted"
        async with AIOKafkaConsumer(
            bootstrap_servers=self.kafka, isolation_level=level, fetch_max_wait_ms=50
        ) as consumer:
            tps = [TopicPartition(f"{self.prefix}.{topic}", p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(tps)
            found = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    found += [(r.key, r.value, tp.partition, r.offset) for r in records]
            return found

    async def state_ends(self) -> dict[int, int]:
        """Return the offset behind the last state of each partition that has one."""
        return {partition: offset + 1 for *_, partition, offset in await self.read("state")}

    async def lag(self) -> int:
        """Return how many input records are not committed by the group."""
        return sum(end - done for end, done in (await self._progress()).values())

    async def committed(self) -> dict[int, int]:
        """Return the group's offset by partition."""
        return {partition: done for partition, (_, done) in (await self._progress()).items()}

    async def _progress(self) -> dict[int, tuple[int, int]]:
        async with AIOKafkaConsumer(
            bootstrap_servers=self.kafka, group_id=f"{self.prefix}.group", enable_auto_commit=False
        ) as consumer:
            tps = [TopicPartition(f"{self.prefix}.in", p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            return {tp.partition: (ends[tp], await consumer.committed(tp) or 0) for tp in tps}

    async def wait_for_outputs(self, count: int) -> None:
        """Return when that many lines are committed."""
        seen = 0

        async def enough() -> bool:
            nonlocal seen
            seen = len(await self.read("out"))
            self.assert_somebody_works()
            return seen >= count

        await until(enough, lambda: f"{seen} of {count} outputs", pause_s=0.3)

    async def drained(self, *, restart: bool = False) -> None:
        """Return when all input is committed; with *restart* as a supervisor would have it."""
        lag = 0

        async def done() -> bool:
            nonlocal lag
            if not (lag := await self.lag()):
                return True
            ends = [worker.process.poll() for worker in self.workers]
            if restart and None not in ends and ends[-1] in RESTARTABLE:
                self.start()
            self.assert_somebody_works()
            return False

        await until(done, lambda: f"{lag} records not committed", pause_s=0.2)

    def assert_somebody_works(self) -> None:
        """Fail with the last log if no worker lives."""
        last = self.workers[-1]
        assert any(worker.alive for worker in self.workers), (
            f"every worker ended, the last with {last.process.poll()}: {last.said()[-2000:]}"
        )

    async def outputs(self, *, woken: bool) -> list[tuple[bytes, bytes]]:
        """Return (key, line) of what records made, or of what timers made."""
        found = await self.read("out")
        return [(k, v) for k, v, *_ in found if v.startswith(b"woken:") == woken]

    async def timer_times(self) -> list[tuple[bytes, int]]:
        """Return (key, epoch ms) of every ``timer:MS`` record of the input."""
        async with AIOKafkaConsumer(bootstrap_servers=self.kafka) as consumer:
            tps = [TopicPartition(f"{self.prefix}.in", p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            await consumer.seek_to_beginning()
            found: list[tuple[bytes, int]] = []
            while fetched := await consumer.getmany(timeout_ms=1500):
                for records in fetched.values():
                    found += [(r.key, r.timestamp + int(r.value[6:])) for r in records]
            return found

    # -- judgement ----------------------------------------------------------------

    async def check(self, *, exactly_once: bool = True) -> None:
        """Compare outputs, touches and state with a fold over the input.

        Without transactions (*exactly_once* false) an output may be there twice; state may not
        differ all the same.
        """
        counts: Counter[bytes] = Counter()
        outputs: list[tuple[bytes, bytes]] = []
        touches: set[bytes] = set()
        log = sorted(await self.read("in"), key=lambda record: record[2:])
        for key, _, partition, offset in log:
            counts[key] += 1
            outputs.append((key, f"{partition}:{offset}:{counts[key]}".encode()))
            if counts[key] % TOUCH_EVERY == 0:
                touches.add(f"{key.decode()}:{counts[key]}:{offset}".encode())
        for worker in self.workers:
            assert worker.buggy or LOST_BATCH not in worker.said(), worker.said()[-2000:]
        await self._settled()
        found = Counter(await self.outputs(woken=False))
        lost, extra = Counter(outputs) - found, found - Counter(outputs)
        if not exactly_once:
            extra = Counter(extra.keys() - set(outputs))
        if lost:
            written = {(k, v) for k, v, *_ in await self.read("out", committed_only=False)}
            raise AssertionError(
                f"{lost.total()} outputs lost, {len(written & lost.keys())} of them written but"
                f" not committed: {sorted(lost)[:3]}…; offsets {await self.committed()}"
            )
        if extra:
            places = [(k, v, p, o) for k, v, p, o in await self.read("out") if (k, v) in extra]
            raise AssertionError(
                f"{extra.total()} outputs too many, e.g. (key, line, partition, offset)"
                f" {sorted(places)[:4]}; {len(await self._second_reading())} lines are"
                f" committed by another client's count, {len(log)} were to be"
            )
        assert {value for _, value, *_ in await self.read("touches")} == touches
        state = {key: value for key, value, *_ in await self.read("state")}
        # The first 17 bytes are version, offset and timer (streams/runtime/state/shard.py).
        assert {key: int(value[17:]) for key, value in state.items()} == dict(counts)

    async def _second_reading(self) -> list[bytes]:
        """Return all committed lines as kafka-python, which shares no code, reads them."""

        def read() -> list[bytes]:
            consumer = KafkaConsumer(
                bootstrap_servers=self.kafka,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                consumer_timeout_ms=3000,
            )
            consumer.assign([KafkaPartition(f"{self.prefix}.out", p) for p in range(PARTITIONS)])
            try:
                return [record.value for record in consumer]
            finally:
                consumer.close()

        return await asyncio.to_thread(read)

    async def _settled(self) -> None:
        """Wait until no transaction is open: offsets can show before the markers elsewhere."""
        names = [f"{self.prefix}.{topic}" for topic in ("out", "state")]
        tps = [TopicPartition(name, p) for name in names for p in range(PARTITIONS)]
        levels = ("read_committed", "read_uncommitted")
        both = [AIOKafkaConsumer(bootstrap_servers=self.kafka, isolation_level=x) for x in levels]
        async with both[0] as stable, both[1] as newest:

            async def none_open() -> bool:
                return bool(await stable.end_offsets(tps) == await newest.end_offsets(tps))

            await until(none_open, lambda: "a transaction stays open")

    async def evidence(self) -> dict[str, int]:
        """Return what shows that a fault had an effect, all zero where none had.

        ``aborted``: records of transactions that were never committed. ``replayed``: touches
        that went out twice. ``generations``: how often the group was formed anew.
        """
        aborted = 0
        for topic in ("out", "state"):
            aborted += len(await self.read(topic, committed_only=False))
            aborted -= len(await self.read(topic))
        touches = [value for _, value, *_ in await self.read("touches")]
        seen = {number for worker in self.workers for number in worker.figures("generation")}
        return {
            "aborted": aborted,
            "replayed": len(touches) - len(set(touches)),
            "generations": max(0, len(seen) - 1),
        }
