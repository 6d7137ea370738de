"""The servers of `siyu bench collect`: a bare aiohttp handler that only produces to Kafka.

python -m benchmarks.on_collect bare|blind KAFKA PORT

``bare`` reads the JSON, takes the batch apart and produces each item under its user id: the
same records as Siyu's, without keys, limits, envelopes, rejects or metrics. ``blind`` produces the
body as one record: what aiohttp and Kafka cost alone, with nothing looked at.
"""

import asyncio
import sys

import orjson
from aiohttp import web
from aiokafka import AIOKafkaProducer

TOPIC = "events.raw"


def build(kind: str, kafka: str) -> web.Application:
    """Return the application."""
    app = web.Application()
    held: list[AIOKafkaProducer] = []

    async def start(_: web.Application) -> None:
        # As Siyu's own producer, and with a linger: its best for many small sends.
        producer = AIOKafkaProducer(
            bootstrap_servers=kafka,
            acks="all",
            enable_idempotence=True,
            linger_ms=2,
            max_batch_size=256 * 1024,
        )
        await producer.start()
        held.append(producer)

    async def stop(_: web.Application) -> None:
        await held[0].stop()

    async def bare(request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        sent = [
            await held[0].send(TOPIC, orjson.dumps(item), item["userId"].encode())
            for item in body["batch"]
        ]
        await asyncio.gather(*sent)
        return web.json_response({"success": True})

    async def blind(request: web.Request) -> web.Response:
        await held[0].send_and_wait(TOPIC, await request.read())
        return web.json_response({"success": True})

    async def ready(_: web.Request) -> web.Response:
        return web.Response(status=200 if held else 503)

    app.on_startup.append(start)
    app.on_cleanup.append(stop)
    app.add_routes(
        [
            web.post("/v1/batch", bare if kind == "bare" else blind),
            web.get("/readyz", ready),
        ]
    )
    return app


if __name__ == "__main__":
    web.run_app(
        build(sys.argv[1], sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[3]),
        access_log=None,
        print=None,
    )
