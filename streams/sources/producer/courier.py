"""Carries parcels from a spool to the broker, in order, for as long as that takes."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from schemas import topics
from schemas.errors import BrokerUnavailable
from streams.sources.producer.spool import Full, Spool

# Under ingest's memory for duplicates (256 ids): a walk that is repeated collapses there.
_PARCELS_A_WALK: Final = 200
_SYNC_EVERY_S: Final = 0.1
_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0
log = structlog.get_logger(__name__)


class Parcel(NamedTuple):
    """One record on its way: key, the envelope's header and the item's bytes."""

    key: bytes
    envelope: bytes
    item: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes, bytes, bytes]).decode
Carry = Callable[[list[Parcel]], None]


class Courier:
    """A thread that empties a spool; ``carry`` returns once the broker has all, or raises."""

    def __init__(self, folder: Path, carry: Carry, *, max_bytes: int) -> None:
        self._spool, self._carry = Spool(folder, max_bytes=max_bytes), carry
        self._problem = "not tried yet"
        self._moved = threading.Condition()
        self._work, self._over = threading.Event(), threading.Event()
        # A daemon: the spool keeps what it does not get to.
        self._thread = threading.Thread(target=self._run, name="siyu-courier", daemon=True)
        self._thread.start()

    def take(self, parcel: Parcel, *, timeout_s: float) -> None:
        """Put a parcel on disk; where it is full wait for room, then ``BrokerUnavailable``."""
        payload, until_s = _encode(parcel), time.monotonic() + timeout_s
        while True:
            try:
                self._spool.put(payload)
            except Full:
                self._wait_for_room(until_s)
            except OSError as error:
                problem = f"the spool's disk: {error}; the event was not taken"
                raise BrokerUnavailable(topics.RAW.name, problem) from error
            else:
                self._work.set()
                return

    def flush(self, timeout_s: float) -> None:
        """Return once the broker has all that was taken before; raises ``BrokerUnavailable``."""
        self._spool.sync()
        self._work.set()
        with self._moved:
            if not self._moved.wait_for(lambda: not self._spool.pending_bytes, timeout_s):
                waiting = f"{self._spool.pending_bytes} bytes wait in the spool"
                raise BrokerUnavailable(topics.RAW.name, f"{waiting}: {self._problem}")

    def close(self, timeout_s: float) -> None:
        """Flush for a while and end; what is left stays on disk."""
        try:
            self.flush(timeout_s)
        except BrokerUnavailable as away:
            log.warning("left in the spool", problem=str(away))
        self._over.set()
        self._work.set()
        self._thread.join()
        self._spool.close()

    def _wait_for_room(self, until_s: float) -> None:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            problem = f"the spool is full, and {self._problem}; the event was not taken"
            raise BrokerUnavailable(topics.RAW.name, problem)
        with self._moved:
            self._moved.wait(min(left_s, _SYNC_EVERY_S))

    def _run(self) -> None:
        pause_s = _PAUSE_S
        while not self._over.is_set():
            self._work.wait(_SYNC_EVERY_S)
            self._work.clear()
            try:
                self._empty()
                pause_s = _PAUSE_S
            except (BrokerUnavailable, OSError) as error:
                self._problem = str(error)
                self._over.wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _empty(self) -> None:
        self._spool.sync()
        while (payloads := self._spool.peek(_PARCELS_A_WALK)) and not self._over.is_set():
            self._carry([Parcel(*_decode(payload)) for payload in payloads])
            self._spool.drop()
            with self._moved:
                self._moved.notify_all()
        if not payloads and self._spool.pending_bytes:
            self._spool.drop()  # what a kill cut short: nothing to send, and no more to wait for
            with self._moved:
                self._moved.notify_all()
