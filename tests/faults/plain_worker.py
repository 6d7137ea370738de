"""An ordinary Faust app on the micro-batch transport: one agent with batches, one without.

Run as ``python plain_worker.py BOOTSTRAP PREFIX``: prints one line per finished message;
a record whose value is ``stick`` is never finished, and prints ``stuck`` instead.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import faust
from faust.types import StreamT

from streams.runtime.faust_adapter.transport import BatchSchema, use_micro_batches

BOOTSTRAP, PREFIX = sys.argv[1:3]

app = faust.App(
    f"{PREFIX}.group",
    broker=f"kafka://{BOOTSTRAP}",
    topic_disable_leader=True,
    topic_allow_declare=False,
    web_enabled=False,
    broker_commit_interval=0.3,
    consumer_auto_offset_reset="earliest",
)
use_micro_batches(app, BOOTSTRAP, frozenset(), isolation_level="read_committed")


async def finish(what: str, values: list[bytes]) -> None:
    stuck = b"stick" in values
    sys.stdout.write("stuck\n" if stuck else f"{what} {len(values)}\n")
    sys.stdout.flush()
    if stuck:
        await asyncio.Event().wait()


@app.agent(app.topic(f"{PREFIX}.batched", schema=BatchSchema()), concurrency=2)
async def batched(stream: StreamT[Any]) -> None:
    async for batch in stream:
        await finish("batch", [record.value for record in batch.records])


@app.agent(app.topic(f"{PREFIX}.single", value_serializer="raw"), concurrency=2)
async def single(stream: StreamT[Any]) -> None:
    async for value in stream:
        await finish("single", [value])


if __name__ == "__main__":
    faust.Worker(
        app, loglevel="WARN", quiet=True, redirect_stdouts=False
    ).execute_from_commandline()
