"""`siyu bench latency`: from an event's acceptance to its touch on the broker, under load.

Collector, worker and broker run as they do for users, in a home of their own, with the shipped
rulebook and one rule that answers every tenth event. Capacity is what comes out at the end while
requests are posted as fast as they are answered; then two paced loads, whose requests go out on
time whatever became of those before. All share this machine with the load itself.

A touch is on the broker when its record is appended: the topic is told to stamp that time, so
nobody has to read along, which took a tenth of what is measured.
"""

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource
from rich.console import Console

from benchmarks import report
from deploy.local import ports, stack
from deploy.progress import Progress
from schemas.errors import PartMissing
from schemas.settings import ROOT, Settings, at_home
from schemas.topics import TOUCHES
from schemas.touches import decode_touch
from streams.commands.broker import ensure_topics

BAR_MS: Final = 100.0
LOADS: Final = {"10 %": 0.1, "50 %": 0.5}
BATCH: Final = 10
CONNECTIONS: Final = 16
# The broker compiles its hot paths for some 15 s, on the cores that all share.
_WARM_S: Final = 15.0
_PATIENCE_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.25
_RULE: Final = """
declares: {bench_touched: []}
rules:
- {id: bench_touch, purpose: service, trigger: {event: bench_touched},
   steps: [{send: {via: [log], template: t}}]}
"""
_SOURCES: Final = "write_keys: {bench: {source: app, name: bench}}\n"


@dataclass
class Watch:
    """Users whose touch is awaited: when their event was accepted, and how long the touch took."""

    accepted_ms: dict[str, float] = field(default_factory=dict)
    touched_ms: dict[str, int] = field(default_factory=dict)

    def latencies_ms(self, users: list[str]) -> list[float]:
        """Return what users waited, sorted; a touch may be there before the answer: no wait."""
        waits = [self.touched_ms[user] - self.accepted_ms[user] for user in users]
        return sorted(max(0.0, wait) for wait in waits)


def run(*, seconds: int, quiet: bool) -> dict[str, Any]:
    """Measure capacity, then both loads; return the answer."""
    console = Console(stderr=True, quiet=quiet)
    folder = Path(tempfile.mkdtemp(prefix="siyu-bench-"))
    # Its own pauses would count as the system's: they made the load 80 ms late.
    gc.disable()
    try:
        with at_home(folder):
            info = stack.up(report=Progress(quiet=quiet))
            try:
                ensure_topics(Settings())
                _stamp_appends(info.kafka)
                # The load shares the cores with what it measures: it takes what it must.
                fast = asyncio.Runner(loop_factory=uvloop.new_event_loop)
                with _parts(folder) as url, fast as runner:
                    return runner.run(_measure(info.kafka, url, seconds, console))
            finally:
                stack.down()
    finally:
        gc.enable()
        shutil.rmtree(folder, ignore_errors=True)


async def _measure(kafka: str, url: str, seconds: int, console: Console) -> dict[str, Any]:
    watch, numbers = Watch(), count()
    consumer = AIOKafkaConsumer(TOUCHES.name, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    watching = asyncio.create_task(_watch(consumer, watch))
    results: dict[str, Any] = {}
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
            client = _Client(session, url, watch, numbers)
            await client.until_ready()
            await client.flood(_WARM_S)
            capacity = await client.flood(seconds)
            results["capacity"] = report.summary([capacity], "events/s")
            console.print(f"capacity {capacity:,.0f} events/s")
            for name, share in LOADS.items():
                latencies = await client.paced(capacity * share, seconds)
                p50, p99 = (latencies[int(len(latencies) * q)] for q in (0.5, 0.99))
                results[name] = report.summary(
                    [p50],
                    "ms",
                    p99_ms=round(p99, 1),
                    touches=len(latencies),
                    events_per_s=round(capacity * share),
                    late_ms=round(client.late_ms, 1),
                )
                console.print(f"{name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    finally:
        watching.cancel()
        await consumer.stop()
    return {
        "bench": "latency",
        "machine": report.machine(),
        "rounds": 1,
        "results": results,
        "ratios": {},
        "checks": {f"p99 at 50 % within {BAR_MS:g} ms": results["50 %"]["p99_ms"] <= BAR_MS},
    }


def _stamp_appends(kafka: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        by_append = {"message.timestamp.type": "LogAppendTime"}
        admin.alter_configs([ConfigResource("TOPIC", TOUCHES.name, by_append)])
    finally:
        admin.close()


async def _watch(consumer: AIOKafkaConsumer, watch: Watch) -> None:
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        fetched = await consumer.getmany()
        for records in fetched.values():
            for record in records:
                watch.touched_ms.setdefault(decode_touch(record.value).user, record.timestamp)


class _Client:
    """Posts batches of which one event is to be answered by a touch."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, watch: Watch, numbers: "count[int]"
    ) -> None:
        self._session, self._url, self._watch, self._numbers = session, url, watch, numbers
        self.late_ms = 0.0

    async def post(self) -> str:
        """Post one batch; return the user who is to be touched."""
        number = next(self._numbers)
        items = [
            {
                "type": "track",
                "messageId": f"{number}-{i}",
                "userId": f"u{(number * 7 + i) % 5000}",
                "event": "product_viewed",
                "properties": {"sku": f"s{i}", "category": "skincare", "price": 12.5},
            }
            for i in range(BATCH - 1)
        ]
        items.append(
            {
                "type": "track",
                "messageId": f"{number}",
                "userId": f"bench{number}",
                "event": "bench_touched",
            }
        )
        body = msgspec.json.encode({"writeKey": "bench", "batch": items})
        async with self._session.post(f"{self._url}/v1/batch", data=body) as answer:
            answer.raise_for_status()
            await answer.read()
        user = f"user_id:bench{number}"
        self._watch.accepted_ms[user] = time.time_ns() / 1e6
        return user

    async def until_ready(self) -> None:
        """Return once an event went all the way."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline_s:
            try:
                await self._all_seen([await self.post()])
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.2)
            else:
                return
        raise PartMissing("bench", "no touch came", remedy="look at the logs of the parts")

    async def flood(self, seconds: float) -> float:
        """Post as fast as answers come; return the events per second that went all the way."""
        users, began_ms = list[str](), time.time_ns() / 1e6

        async def one() -> None:
            while time.time_ns() / 1e6 - began_ms < seconds * 1000:
                users.append(await self.post())

        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
        await self._all_seen(users)
        took_ms = max(self._watch.touched_ms[user] for user in users) - began_ms
        return len(users) * BATCH / took_ms * 1000

    async def paced(self, events_per_s: float, seconds: float) -> list[float]:
        """Post on time; return the sorted latencies of the touches, in ms."""
        every_s, began_s = BATCH / events_per_s, time.perf_counter()
        posts = list[asyncio.Task[str]]()
        self.late_ms = 0.0
        while (due_s := len(posts) * every_s) < seconds:
            behind_s = time.perf_counter() - began_s - due_s
            if behind_s < 0:
                await asyncio.sleep(-behind_s)
            else:
                self.late_ms = max(self.late_ms, behind_s * 1000)
            posts.append(asyncio.create_task(self.post()))
        users = list(await asyncio.gather(*posts))
        await self._all_seen(users)
        return self._watch.latencies_ms(users)

    async def _all_seen(self, users: list[str]) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while not all(user in self._watch.touched_ms for user in users):
            if time.monotonic() > deadline_s:
                raise PartMissing("bench", "touches are missing", remedy="look at the worker's log")
            await asyncio.sleep(_LOOK_EVERY_S)


@contextmanager
def _parts(folder: Path) -> Iterator[str]:
    """Run collector and worker; yield the collector's address."""
    port, book = ports.keep(folder, "collect")["collect"], folder / "rulebook"
    shutil.copytree(ROOT / "deploy/rulebook", book)
    (book / "bench.yaml").write_text(_RULE)
    (folder / "sources.yaml").write_text(_SOURCES)
    env = {
        **os.environ,
        "SIYU_SOURCES": str(folder / "sources.yaml"),
        "SIYU_RULEBOOK": str(book),
        "SIYU_COLLECT_PORT": str(port),
        "SIYU_PII_KEY": "bench",
    }
    running = list[subprocess.Popen[bytes]]()
    with (folder / "parts.log").open("wb") as log:
        try:
            for part in ("collect", "worker"):
                argv = [sys.executable, "-m", "streams.commands.cli", part]
                running.append(subprocess.Popen(argv, cwd=ROOT, env=env, stdout=log, stderr=log))
            yield f"http://127.0.0.1:{port}"
        finally:
            for process in running:
                process.terminate()
            for process in running:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
