"""Load for `siyu bench collect`: keep-alive connections that post batches, all answers counted.

python -m benchmarks.load_collect PORT BATCH REQUESTS CONNECTIONS -> one JSON object
"""

import asyncio
import json
import random
import sys
import time
import uuid
from itertools import count

BODIES = 200


def bodies(batch: int) -> list[bytes]:
    """Return requests of so many events, each some 400 bytes, of 20,000 users."""
    dice = random.Random(7)
    made = []
    for _ in range(BODIES):
        items = [
            {
                "type": "track",
                "event": "product_viewed",
                "userId": f"u{dice.randrange(20_000)}",
                "messageId": str(uuid.UUID(int=dice.getrandbits(128))),
                "timestamp": "2026-01-02T03:04:05.678Z",
                "properties": {"sku": f"s{dice.randrange(999)}", "category": "茶具", "price": 12.5},
                "context": {
                    "library": {"name": "bench", "version": "1"},
                    "ip": "10.0.0.1",
                    "userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1)",
                },
            }
            for _ in range(batch)
        ]
        body = {"writeKey": "bench", "sentAt": "2026-01-02T03:04:06.000Z", "batch": items}
        made.append(json.dumps(body, ensure_ascii=False).encode())
    return made


async def main(port: int, batch: int, requests: int, connections: int) -> dict[str, object]:
    """Post all requests over the connections; return what was seen."""
    heads = [
        b"POST /v1/batch HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
        for body in bodies(batch)
    ]
    numbers, latencies_s, failed = count(), list[float](), 0

    async def client() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (number := next(numbers)) < requests:
            began_s = time.perf_counter()
            writer.write(heads[number % BODIES])
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            await reader.readexactly(size)
            latencies_s.append(time.perf_counter() - began_s)
            failed += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    began_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    took_s = time.perf_counter() - began_s
    latencies_s.sort()
    return {
        "seconds": took_s,
        "events": batch * requests,
        "failed": failed,
        "p50_ms": round(latencies_s[len(latencies_s) // 2] * 1000, 2),
        "p99_ms": round(latencies_s[int(len(latencies_s) * 0.99)] * 1000, 2),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*map(int, sys.argv[1:5])))))
