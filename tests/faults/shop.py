"""The real worker on a log of raw events, and an oracle of its own: plain Python over the log."""

import asyncio
import hashlib
import json
import random
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from schemas.settings import ROOT
from tests.faults.harness import DEADLINE_S, SESSION_S, Worker

GROUP: Final = "siyu-worker"
PARTITIONS: Final = 4
# In this test's own words: a rule that fires at each payment of 100 or more, without guards.
RULEBOOK: Final = """
tags:
  - {id: views, kind: count, event: product_viewed}
  - {id: orders, kind: count, event: order_paid}
  - {id: gmv, kind: sum, event: order_paid, value: properties.amount}
  - {id: last_sku, kind: last, event: [product_viewed, order_paid], value: properties.sku}
  - {id: seen, kind: count, event: "*"}
rules:
  - id: big
    trigger: {event: order_paid, where: {properties.amount: {gte: 100}}}
    steps: [{send: {via: [log], template: big}}]
declares: {exploded: []}
"""
BIG: Final = 100


@dataclass
class Shop:
    """A home folder, a broker, the workers that ran, and what was sent."""

    kafka: str
    home: Path
    seed: int = 7
    workers: list[Worker] = field(default_factory=list)
    sent: list[tuple[bytes, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.home / "rulebook").mkdir(parents=True, exist_ok=True)
        (self.home / "rulebook" / "all.yaml").write_text(RULEBOOK)
        self._rng = random.Random(self.seed)
        self._base_ms = int(time.time() * 1000) - 3_600_000

    def start(self, crash_at: str = "", program: str = "") -> Worker:
        """Start `siyu worker`, or another program in its place."""
        env = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "SIYU_HOME": str(self.home),
            "SIYU_KAFKA": self.kafka,
            "SIYU_RULEBOOK": str(self.home / "rulebook"),
            "SIYU_PII_KEY": "k" * 64,
            "SIYU_CRASH_AT": crash_at,
            "SIYU_WORKER_SESSION_TIMEOUT_S": str(SESSION_S),
            "SIYU_WORKER_BATCH_RECORDS": "100",
        }
        argv = [program] if program else ["-m", "streams.commands.cli", "worker"]
        log = self.home / f"worker-{len(self.workers)}.log"
        worker = Worker([sys.executable, *argv], env, log)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        """End all workers."""
        for worker in self.workers:
            if worker.alive:
                worker.kill()

    # -- the log ------------------------------------------------------------------

    def messages(self, count: int, users: int) -> list[tuple[bytes, bytes]]:
        """Return raw items: mostly good, some sent twice, some broken."""
        made: list[tuple[bytes, bytes]] = []
        for _ in range(count):
            draw = self._rng.random()
            user = f"u-{self._rng.randrange(users)}"
            if draw < 0.04 and made:
                made.append(self._rng.choice(made))
            elif draw < 0.07:
                made.append((user.encode(), self._rng.choice([b"{", b"[]", b'{"type":"track"}'])))
            else:
                name = self._rng.choice(["product_viewed"] * 3 + ["order_paid", "cart_added"])
                made.append((user.encode(), self.item(user, name)))
        return made

    def item(self, user: str, name: str) -> bytes:
        """Return one good message; no two have the same time, and they come out of order."""
        number = self._rng.getrandbits(60)
        properties: dict[str, Any] = {"sku": f"s-{number % 50}"}
        if name == "order_paid":
            properties |= {
                "amount": self._rng.randrange(100, 30_000) / 100,
                "order_id": f"{number}",
            }
        happened_s = (self._base_ms + self._rng.randrange(3_000_000)) / 1000
        told = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(happened_s))
        message = {
            "type": "track",
            "event": name,
            "userId": user,
            "messageId": f"m-{number:x}",
            "timestamp": f"{told}.{round(happened_s * 1000) % 1000:03d}Z",
            "properties": properties,
        }
        return json.dumps(message).encode()

    async def send(self, items: list[tuple[bytes, bytes]]) -> None:
        """Put raw items on the log, as the edge does."""
        async with AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all") as producer:
            for key, body in items:
                envelope = {"door": "segment", "source": "app", "account": "a"}
                envelope |= {"receivedAtMs": int(time.time() * 1000)}  # type: ignore[dict-item]
                headers = [("siyu", json.dumps(envelope).encode())]
                await producer.send("events.raw", key=key, value=body, headers=headers)
            await producer.flush()

    async def read(self, topic: str) -> list[ConsumerRecord]:
        """Return all committed records of a topic, by partition and offset."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self.kafka, isolation_level="read_committed", fetch_max_wait_ms=50
        ) as consumer:
            tps = [TopicPartition(topic, p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(tps)
            found: list[ConsumerRecord] = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
            return sorted(found, key=lambda r: (r.partition, r.offset))

    async def drained(self) -> None:
        """Return when ingest has done all raw records, and engage all events."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not (await self._done("events.raw") and await self._done("events")):
            last = self.workers[-1]
            assert last.alive, last.said()[-3000:]
            assert time.monotonic() < deadline_s, last.said()[-3000:]
            await asyncio.sleep(0.3)

    async def _done(self, topic: str) -> bool:
        await self._settled()
        newest = {record.partition: record.offset for record in await self.read(topic)}
        async with AIOKafkaConsumer(
            bootstrap_servers=self.kafka, group_id=GROUP, enable_auto_commit=False
        ) as consumer:
            done = {p: await consumer.committed(TopicPartition(topic, p)) or 0 for p in newest}
        return all(done[partition] > offset for partition, offset in newest.items())

    async def _settled(self) -> None:
        names = ("events", "events.rejected", "decisions", "tags", "state.engage")
        tps = [TopicPartition(name, p) for name in names for p in range(PARTITIONS)]
        levels = ("read_committed", "read_uncommitted")
        both = [AIOKafkaConsumer(bootstrap_servers=self.kafka, isolation_level=x) for x in levels]
        deadline_s = time.monotonic() + DEADLINE_S
        async with both[0] as stable, both[1] as newest:
            while await stable.end_offsets(tps) != await newest.end_offsets(tps):
                assert time.monotonic() < deadline_s, "a transaction stays open"
                await asyncio.sleep(0.1)


# -- the oracle: no code of the engine, of ingest, or of the runtime ------------------


def sort_raw(raw: list[ConsumerRecord]) -> dict[str, set[tuple[int, int]]]:
    """Return where each raw record must have gone: accepted, dedupe or broken."""
    fates: dict[str, set[tuple[int, int]]] = defaultdict(set)
    seen: set[tuple[bytes, str]] = set()
    for record in raw:
        place = (record.partition, record.offset)
        try:
            message_id = json.loads(record.value)["messageId"]
        except (ValueError, KeyError, TypeError):
            fates["broken"].add(place)
            continue
        fates["dedupe" if (record.key, message_id) in seen else "accepted"].add(place)
        seen.add((record.key, message_id))
    return fates


def fold(events: list[dict[str, Any]], *, without: str = "") -> dict[str, dict[str, Any]]:
    """Return what each user's tags must be."""
    profiles: dict[str, dict[str, Any]] = {}
    newest: dict[str, int] = {}
    for event in events:
        user, name, properties = event["user"], event["event"], event["properties"]
        if name == without:
            continue
        empty = {"views": 0, "orders": 0, "gmv": 0, "seen": 0}
        profile = profiles.setdefault(user, empty)
        profile["seen"] += 1
        if name == "product_viewed":
            profile["views"] += 1
        if name == "order_paid":
            profile["orders"] += 1
            # In cents: a sum must not depend on the order of its terms.
            profile["gmv"] = (round(profile["gmv"] * 100) + round(properties["amount"] * 100)) / 100
        if name in ("product_viewed", "order_paid"):
            rank = (event["timestampMs"], properties["sku"])
            if rank > newest.get(user, (0, "")):  # type: ignore[operator]
                newest[user], profile["last_sku"] = rank, properties["sku"]  # type: ignore[assignment]
    return profiles


def touch_id(event: dict[str, Any], version: str) -> str:
    """Return the id of the touch that a payment must have caused."""
    parts = "\x1f".join(("touch", "big", version, event["user"], event["messageId"]))
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()
