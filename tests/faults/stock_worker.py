"""A stock Faust worker, as its own documentation writes one: a line per record.

Run as ``python stock_worker.py BOOTSTRAP PREFIX TRAIT...``. Traits: ``sticks``: a record
``stick`` is never finished; ``raises``: a record ``boom`` raises; ``buffers``: outputs go
through Faust's buffer; ``pair``: two actors (``concurrency=2``).
"""

import asyncio
import sys
import tempfile

import faust
from faust.types import StreamT

BOOTSTRAP, PREFIX, *TRAITS = sys.argv[1:]

app = faust.App(
    f"{PREFIX}.group",
    broker=f"kafka://{BOOTSTRAP}",
    topic_disable_leader=True,
    topic_allow_declare=False,
    web_enabled=False,
    datadir=tempfile.mkdtemp(prefix=f"{PREFIX}-"),
    broker_commit_interval=0.3,
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.0,
    consumer_auto_offset_reset="earliest",
)
source = app.topic(f"{PREFIX}.in", key_serializer="raw", value_serializer="raw")
target = app.topic(f"{PREFIX}.out", key_serializer="raw", value_serializer="raw")


@app.agent(source, concurrency=2 if "pair" in TRAITS else 1)
async def copy(stream: StreamT[bytes]) -> None:
    async for event in stream.events():
        word, _, size = event.value.partition(b":")
        if word == b"boom" and "raises" in TRAITS:
            raise ValueError("boom")
        if word == b"stick" and "sticks" in TRAITS:
            await asyncio.Event().wait()
        line = f"{event.message.partition}:{event.message.offset}".encode()
        line = line.ljust(int(size)) if word == b"big" else line
        if "buffers" in TRAITS:
            target.send_soon(key=event.key, value=line)
        else:
            await target.send(key=event.key, value=line)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--loglevel=INFO"]
    app.main()
