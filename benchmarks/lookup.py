"""`siyu bench lookup`: how fast a worker tells of one user, and what it costs the events.

A stack of its own in a folder of its own, one worker with the shipped rulebook, and one
client on a kept connection that asks for one user after the other: at rest, then while events
flow in. The floor is what the same server takes for an answer that needs no user.
"""

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.progress import Progress

from benchmarks import report, stage
from benchmarks.broker import Broker
from benchmarks.engaging import cost_us, event
from schemas.errors import PartMissing
from schemas.events import encode_event
from schemas.settings import ROOT, Settings, at_home
from schemas.topics import EVENTS
from streams.commands.broker import ensure_topics
from streams.runtime.serving.group import GROUP, addresses

MAX_P99_MS: Final = 10.0
EVENTS_A_USER: Final = 5
# A worker that is behind answers between two batches: then fewer requests tell as much.
_MOST_S: Final = 20.0
TOKEN: Final = "bench"  # noqa: S105 - of a worker that lives for the bench
_PATIENCE_S: Final = 180.0
_WARM: Final = 50


def run(*, users: int, requests: int, rounds: int, load: int, quiet: bool) -> dict[str, Any]:
    """Run the bench; return the answer."""
    with _own_home(), stage.opened(quiet=quiet) as (broker, progress):
        ensure_topics(broker.settings)
        _fill(broker, progress, users)
        with _worker(broker.settings) as process:
            measured = _measure(
                broker, progress, process, users=users, requests=requests, rounds=rounds, load=load
            )
            try:
                runs = asyncio.run(measured)
            except aiohttp.ClientError as problem:
                raise PartMissing("worker", repr(problem), remedy=_last_of_log()) from problem
        costs = {name: cost_us(**told, rounds=rounds) for name, told in _ENGAGE.items()}
    return _answer(runs, costs, rounds, users=users, load=load)


_ENGAGE: Final[dict[str, dict[str, bool]]] = {
    "engage_bare": {"origins": False, "profiles": False},
    "engage_origins": {"origins": True, "profiles": False},
    "engage_origins_profiles": {"origins": True, "profiles": True},
}


def _fill(broker: Broker, progress: Progress, users: int) -> None:
    task = progress.add_task("events of users", total=users * EVENTS_A_USER)
    records = ((one.user.encode(), encode_event(one)) for one in _events(users))
    broker.fill(
        EVENTS.name, broker.settings.partitions, records, lambda n: progress.advance(task, n)
    )
    progress.remove_task(task)


def _events(users: int) -> Iterator[Any]:
    for number in range(users * EVENTS_A_USER):
        yield event(number, number % users)


async def _measure(
    broker: Broker,
    progress: Progress,
    process: subprocess.Popen[bytes],
    *,
    users: int,
    requests: int,
    rounds: int,
    load: int,
) -> dict[str, list[dict[str, float]]]:
    url = await _ready(broker.settings, process)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    runs: dict[str, list[dict[str, float]]] = {}
    async with aiohttp.ClientSession(headers=headers) as session:
        rss = _rss_bytes(process.pid)
        await _ask(session, f"{url}/anonymous_id:a0", 200)  # makes the index
        index = {"median": (_rss_bytes(process.pid) - rss) / users, "p99": 0.0, "n": 1}
        chance = random.Random(7)
        kinds: dict[str, Callable[[], str]] = {
            "floor": lambda: f"{url}/",
            "by_key": lambda: f"{url}/user_id:u{chance.randrange(users)}",
            "by_identity": lambda: f"{url}/anonymous_id:a{chance.randrange(users)}",
            "by_bare_value": lambda: f"{url}/a{chance.randrange(users)}",
        }
        task = progress.add_task("asking", total=rounds * len(kinds) * 2)
        for _ in range(rounds):
            for name, next_url in kinds.items():
                told = await _times(session, next_url, requests, 200 if name != "floor" else 404)
                runs.setdefault(name, []).append(told)
                progress.advance(task)
            if not load:
                continue
            async with _load(broker, users, load):
                for name, next_url in kinds.items():
                    told = await _times(
                        session, next_url, requests, 200 if name != "floor" else 404
                    )
                    runs.setdefault(f"{name}_under_load", []).append(told)
                    progress.advance(task)
        progress.remove_task(task)
    return runs | {"index_bytes_a_user": [index]}


async def _times(
    session: aiohttp.ClientSession, next_url: Callable[[], str], requests: int, expected: int
) -> dict[str, float]:
    took = list[float]()
    deadline_s = time.monotonic() + _MOST_S
    for number in range(requests + _WARM):
        if took and time.monotonic() > deadline_s:
            break
        url, began_s = next_url(), time.perf_counter()
        await _ask(session, url, expected)
        if number >= _WARM:
            took.append((time.perf_counter() - began_s) * 1000)
    took.sort()
    return {"median": took[len(took) // 2], "p99": took[int(len(took) * 0.99)], "n": len(took)}


async def _ask(session: aiohttp.ClientSession, url: str, expected: int) -> None:
    async with session.get(url) as answer:
        body = await answer.read()
        if answer.status != expected:
            raise PartMissing("worker", f"{url}: {answer.status} {body!r}", remedy="see its log")


@asynccontextmanager
async def _load(broker: Broker, users: int, per_s: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.engaging",
        broker.settings.kafka,
        str(users),
        str(per_s),
        cwd=ROOT,
    )
    try:
        await asyncio.sleep(2)
        yield
    finally:
        process.terminate()
        await process.wait()


async def _ready(settings: Settings, process: subprocess.Popen[bytes]) -> str:
    """Return the worker's address once it has read all events."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s and process.poll() is None:
        found = await addresses(settings)
        if found and await _drained(settings):
            return found[0]
        await asyncio.sleep(0.5)
    raise PartMissing("worker", "does not come to the end of the events", remedy="see its log")


async def _drained(settings: Settings) -> bool:
    tps = [TopicPartition(EVENTS.name, partition) for partition in range(settings.partitions)]
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, group_id=GROUP, enable_auto_commit=False
    ) as consumer:
        ends = await consumer.end_offsets(tps)
        return all([(await consumer.committed(tp) or 0) >= ends[tp] for tp in tps])


@contextmanager
def _worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    knobs = {"SIYU_KAFKA": settings.kafka, "SIYU_API_TOKEN": TOKEN, "SIYU_PII_KEY": "bench"}
    with (Path(os.environ["SIYU_HOME"]) / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.commands.cli", "worker"],
            cwd=ROOT,
            env={**os.environ, **knobs},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _own_home() -> Iterator[None]:
    """Play in a folder of its own: topics have fixed names, and nobody's users may be touched."""
    from deploy.local import stack

    folder = Path(tempfile.mkdtemp(prefix="siyu-bench-"))
    with at_home(folder):
        try:
            yield
        finally:
            stack.down()
            shutil.rmtree(folder, ignore_errors=True)


def _last_of_log() -> str:
    log = (Path(os.environ["SIYU_HOME"]) / "worker.log").read_text("utf-8")
    return "its log ends: " + log[-2000:]


def _rss_bytes(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text("utf-8").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _answer(
    runs: dict[str, list[dict[str, float]]],
    costs: dict[str, list[float]],
    rounds: int,
    *,
    users: int,
    load: int,
) -> dict[str, Any]:
    index = runs.pop("index_bytes_a_user")
    results = {
        name: report.summary(
            [one["median"] for one in told],
            "ms",
            p99_ms=report.median([one["p99"] for one in told]),
            requests=sum(int(one["n"]) for one in told),
            users=users,
        )
        for name, told in runs.items()
    }
    results |= {name: report.summary(took, "us/event") for name, took in costs.items()}
    results["index"] = report.summary([index[0]["median"]], "bytes/user", users=users)
    loaded = {f"p99 under 10 ms at {load} events/s": "_under_load"} if load else {}
    asked = ("by_key", "by_identity", "by_bare_value")
    return {
        "bench": "lookup",
        "machine": report.machine(),
        "rounds": rounds,
        "results": results,
        "ratios": {
            "by_key/floor": report.ratio(results, "by_key", "floor"),
            "engage_origins/engage_bare": report.ratio(results, "engage_origins", "engage_bare"),
            "engage_origins_profiles/engage_origins": report.ratio(
                results, "engage_origins_profiles", "engage_origins"
            ),
        },
        "checks": {
            check: all(results[name + phase]["p99_ms"] < MAX_P99_MS for name in asked)
            for check, phase in {"p99 under 10 ms": "", **loaded}.items()
        },
    }
