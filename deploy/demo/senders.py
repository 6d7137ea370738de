"""The real front doors: the unmodified Segment SDK, Sensors bodies, encrypted callbacks.

A sender tries again on 503 and on a broken connection, with the same bytes and ids, so
that nothing depends on a process not being killed. It counts what the doors answered.
"""

import base64
import gzip
import hashlib
import http.client
import json
import logging
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from segment.analytics.client import Client

from deploy.demo.messages import AppCall, Callback, Message, MiniBody, MiniEvent
from schemas import clock
from schemas.sources import Sources

OK: Final = 200
_TRY_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})
_MINI_BATCH: Final = 6  # what a session's SDK has in hand when it sends
_BLOCK: Final = 32  # WeChat pads to 32 bytes, not to AES's 16
_RETRY_NOTES: Final = ("Retry attempt", "Network error retry", "Rate-limited")


class DoorClosed(Exception):
    """A door took nothing for ``patience_s``: look at the collector's log."""


@dataclass(slots=True)
class Tally:
    """What the doors answered: items accepted with 200, refused for good, and sent again.

    ``retried`` is the most items that may have been stored although no answer came.
    """

    accepted: int = 0
    refused: int = 0
    retried: int = 0
    by_door: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, door: str, *, accepted: int = 0, refused: int = 0, retried: int = 0) -> None:
        """Add the outcome of one request."""
        with self.lock:
            self.accepted += accepted
            self.refused += refused
            self.retried += retried
            self.by_door[door] = self.by_door.get(door, 0) + accepted


class Door:
    """One keep-alive connection to the collector that asks until it is answered."""

    def __init__(self, url: str, tally: Tally, name: str, *, patience_s: float = 90) -> None:
        self._address = urlsplit(url)
        self._tally, self._name, self._patience_s = tally, name, patience_s
        self._connection = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "127.0.0.1", self._address.port
        return http.client.HTTPConnection(host, port, timeout=15)

    def post(self, path: str, body: bytes, *, items: int, media: str) -> int:
        """Return the final status; an item counts as accepted where it is 200."""
        deadline_s, pause_s = time.monotonic() + self._patience_s, 0.1
        while True:
            status = self._once(path, body, media)
            if status == OK:
                self._tally.count(self._name, accepted=items)
                return status
            if status and status not in _TRY_AGAIN:
                self._tally.count(self._name, refused=items)
                return status
            self._tally.count(self._name, retried=items)
            if time.monotonic() > deadline_s:
                raise DoorClosed(f"{self._name}: no answer in {self._patience_s:g} s at {path}")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.6, 2.0)

    def _once(self, path: str, body: bytes, media: str) -> int:
        try:
            self._connection.request("POST", path, body, {"Content-Type": media})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = self._connect()
            return 0
        return answer.status


class _RetryCounter(logging.Handler):
    """Counts the batches that the Segment SDK's own log says it sends again."""

    def __init__(self, tally: Tally, batch: int) -> None:
        super().__init__()
        self._tally, self._batch = tally, batch

    def emit(self, record: logging.LogRecord) -> None:
        """Count one batch, the most that the SDK sends again at once."""
        if str(record.msg).startswith(_RETRY_NOTES):
            self._tally.count("app", retried=self._batch)


def send_app(
    calls: Iterable[AppCall], *, url: str, write_key: str, tally: Tally, tick: Callable[[int], None]
) -> None:
    """Send through segment-analytics-python as it is; returns when its queue is empty."""
    batch, log = 100, logging.getLogger("segment")
    listener = _RetryCounter(tally, batch)
    log.addHandler(listener)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    lost: list[int] = []
    client = Client(
        write_key,
        host=url,
        gzip=True,
        upload_size=batch,
        upload_interval=0.1,
        max_queue_size=1_000_000,
        on_error=lambda _, items: lost.append(len(items)),
    )
    sent = 0
    try:
        for call in calls:
            getattr(client, call.method)(**call.arguments)
            sent += 1
        _drain(client, sent, tick)
    finally:
        client.shutdown()
        log.removeHandler(listener)
    tally.count("app", accepted=sent - sum(lost), refused=sum(lost))


def _drain(client: Any, sent: int, tick: Callable[[int], None]) -> None:  # noqa: ANN401 - the SDK is untyped
    ticked = 0
    while left := client.queue.unfinished_tasks:
        tick(sent - left - ticked)
        ticked = sent - left
        time.sleep(0.05)
    tick(sent - ticked)


def send_mini(
    messages: Iterable[MiniEvent | MiniBody],
    *,
    url: str,
    token: str,
    tally: Tally,
    tick: Callable[[int], None],
) -> None:
    """Send mini-program events as the Sensors SDK does: text/plain, some gzipped."""
    door = Door(url, tally, "mini_program")
    path = f"/sa?{urlencode({'project': 'default', 'token': token})}"
    for batch in _mini_batches(messages):
        body = batch.body if isinstance(batch, MiniBody) else _sensors_body(batch)
        items = 1 if isinstance(batch, MiniBody) else len(batch)
        door.post(path, body, items=items, media="text/plain;charset=UTF-8")
        tick(items)


def _mini_batches(
    messages: Iterable[MiniEvent | MiniBody],
) -> Iterator[list[MiniEvent] | MiniBody]:
    """Group a session's events, sessions in the order of their first event."""
    sessions: dict[str, list[MiniEvent]] = {}
    for message in messages:
        if isinstance(message, MiniBody):
            yield message
        else:
            sessions.setdefault(message.session, []).append(message)
    for events in sessions.values():
        rest = iter(events)
        while batch := list(islice(rest, _MINI_BATCH)):
            yield batch


def _sensors_body(batch: list[MiniEvent]) -> bytes:
    flushed_ms = clock.now_ms()
    items = [event.body | {"_flush_time": flushed_ms} for event in batch]
    text = json.dumps(items, ensure_ascii=False, separators=(",", ":")).encode()
    # Every third device runs a version that compresses.
    squeeze = zlib.crc32(batch[0].session.encode()) % 3 == 0
    packed = base64.b64encode(gzip.compress(text, 6) if squeeze else text).decode()
    return f"data_list={quote(packed, safe='')}{'&gzip=1' if squeeze else ''}".encode()


def send_account(
    callbacks: Iterable[Callback],
    *,
    url: str,
    appid: str,
    sources: Sources,
    tally: Tally,
    tick: Callable[[int], None],
) -> None:
    """Send the official account's callbacks, encrypted, as WeChat's servers do."""
    door = Door(url, tally, "official_account")
    account = sources.wechat[appid]
    token, key = account.token.get_secret_value(), account.aes_keys[0].get_secret_value()
    for callback in callbacks:
        cipher = encrypt(callback.xml, key, appid)
        if callback.flaw == "cipher":
            cipher = base64.b64encode(callback.xml).decode()
        signer = "not the token" if callback.flaw == "signature" else token
        body = f"<xml><ToUserName>gh_siyu_demo</ToUserName><Encrypt>{cipher}</Encrypt></xml>"
        path = f"/wechat/{appid}?{signed_query(signer, cipher)}"
        door.post(path, body.encode(), items=1, media="text/xml")
        tick(1)


def encrypt(message: bytes, encoding_aes_key: str, appid: str) -> str:
    """Return WeChat's envelope of a message: random, length, message, appid; AES-256-CBC."""
    key = base64.b64decode(encoding_aes_key + "=")
    plain = os.urandom(16) + len(message).to_bytes(4, "big") + message + appid.encode()
    padding = _BLOCK - len(plain) % _BLOCK
    sealer = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    sealed = sealer.update(plain + bytes([padding]) * padding) + sealer.finalize()
    return base64.b64encode(sealed).decode()


def signed_query(token: str, cipher: str) -> str:
    """Return the query that WeChat puts on an encrypted callback."""
    timestamp, nonce = str(int(time.time())), os.urandom(5).hex()

    def sign(*parts: str) -> str:
        return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()  # noqa: S324 - WeChat's scheme

    query = {"signature": sign(token, timestamp, nonce), "timestamp": timestamp, "nonce": nonce}
    query |= {"encrypt_type": "aes", "msg_signature": sign(token, timestamp, nonce, cipher)}
    return urlencode(query)


def send_day(
    day: list[Message],
    *,
    url: str,
    sources: Sources,
    appid: str,
    tally: Tally,
    tick: Callable[[int], None],
) -> list[Callable[[], None]]:
    """Return one call for each door that sends its part of the day; run them side by side."""
    keys = {write_key.source: key for key, write_key in sources.write_keys.items()}
    app = [sent for sent in day if isinstance(sent, AppCall)]
    mini = [sent for sent in day if isinstance(sent, (MiniEvent, MiniBody))]
    account = [sent for sent in day if isinstance(sent, Callback)]
    return [
        lambda: send_app(app, url=url, write_key=keys["app"], tally=tally, tick=tick),
        lambda: send_mini(mini, url=url, token=keys["mini_program"], tally=tally, tick=tick),
        lambda: send_account(
            account, url=url, appid=appid, sources=sources, tally=tally, tick=tick
        ),
    ]
