"""A provider of touches on loopback: checks the signature, acts once per idempotency key.

Each call is one JSON line in the record file: ``idempotency_key``, ``body``,
``received_ms``, ``status`` (what was answered) and ``effect`` (true for the one call
of a key that would have reached the user). It verifies by its own code, as a
receiver in another language would, from the three headers alone.

    python -m deploy.local.webhook_receiver --record calls.jsonl --port 8790
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from aiohttp import web

from schemas import clock
from schemas.settings import Settings
from schemas.signals import on_stop_signals

TOLERANCE_S: Final = 300
# Longer than any sender waits.
_SILENCE_S: Final = 120.0
Trouble = Literal["500", "429", "timeout", "silent-accept"]


@dataclass(slots=True)
class Receiver:
    """How the provider answers, and which calls it has seen.

    ``trouble`` meets the first ``fail_first`` calls of each key: ``timeout`` never
    answers, ``silent-accept`` acts and then never answers. ``always`` is answered to all.
    """

    record: Path
    secret: bytes
    fail_first: int = 0
    trouble: Trouble = "500"
    always: int | None = None
    delay_s: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    done: set[str] = field(default_factory=set)

    def remember(self) -> None:
        """Take up the keys of an earlier run, so that a restart acts on none twice."""
        if not self.record.exists():
            return
        written = self.record.read_bytes()
        # A kill may have torn the last line; its call was never answered.
        whole = written[: written.rfind(b"\n") + 1]
        if whole != written:
            os.truncate(self.record, len(whole))
        calls = map(json.loads, whole.splitlines())
        self.done = {call["idempotency_key"] for call in calls if call["effect"]}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        body = await request.read()
        key = request.headers.get("Idempotency-Key", "")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        status, trouble = self._decide(key, request, body)
        effect = status == web.HTTPOk.status_code and key not in self.done
        if effect:
            self.done.add(key)
        self._write(key, body, status, effect=effect)
        if trouble in {"timeout", "silent-accept"}:
            await asyncio.sleep(_SILENCE_S)
        headers = {"Retry-After": "1"} if trouble == "429" else None
        return web.json_response(
            {"key": key, "repeated": not effect}, status=status, headers=headers
        )

    def _decide(self, key: str, request: web.Request, body: bytes) -> tuple[int, Trouble | None]:
        if not key or not self._signed(request, body):
            return web.HTTPUnauthorized.status_code, None
        if self.always is not None:
            return self.always, None
        self.calls[key] += 1
        if self.calls[key] > self.fail_first:
            return web.HTTPOk.status_code, None
        status_of = {"silent-accept": 200, "timeout": 0, "500": 500, "429": 429}
        return status_of[self.trouble], self.trouble

    def _signed(self, request: web.Request, body: bytes) -> bool:
        if not self.secret:
            return True
        timestamp = request.headers.get("Siyu-Timestamp", "")
        if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
            return False
        digest = hmac.new(self.secret, timestamp.encode() + b"." + body, hashlib.sha256)
        wanted = f"v1={digest.hexdigest()}"
        signature = request.headers.get("Siyu-Signature", "")
        return hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "backslashreplace"))

    def _write(self, key: str, body: bytes, status: int, *, effect: bool) -> None:
        line: dict[str, Any] = {
            "idempotency_key": key,
            "body": body.decode("utf-8", "backslashreplace"),
            "received_ms": clock.now_ms(),
            "status": status,
            "effect": effect,
        }
        with self.record.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")


async def serve(receiver: Receiver, port: int) -> None:
    """Serve until SIGTERM; print the address as one JSON line when ready."""
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    bound = runner.addresses[0][1]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{bound}/touches"}) + "\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    on_stop_signals(stop.set)
    await stop.wait()
    await runner.cleanup()


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line; the secret is the sender's own setting."""
    parser = argparse.ArgumentParser(description="a webhook receiver on loopback")
    parser.add_argument("--record", type=Path, required=True, help="file of JSON lines")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--fail-first", type=int, default=0, help="calls of each key")
    parser.add_argument(
        "--trouble", choices=["500", "429", "timeout", "silent-accept"], default="500"
    )
    parser.add_argument("--always", type=int, help="answer this status to every call")
    parser.add_argument("--delay-ms", type=int, default=0)
    options = parser.parse_args(arguments)
    receiver = Receiver(
        record=options.record,
        secret=Settings().webhook_secret.get_secret_value().encode(),
        fail_first=options.fail_first,
        trouble=options.trouble,
        always=options.always,
        delay_s=options.delay_ms / 1000,
    )
    receiver.remember()
    asyncio.run(serve(receiver, options.port))


if __name__ == "__main__":
    main()
