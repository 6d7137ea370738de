"""The broker goes away under load: what was answered 200 is kept, and the edge heals by itself."""

import base64
import itertools
import json
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from deploy.local import stack as local_stack
from deploy.local.process import Process
from schemas.settings import Settings
from streams.commands.broker import ensure_topics
from tests.collect_harness import Dropped, Edge, Tap, collector, ready, until

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.slow]
OUTAGE_S = 30.0
CLIENTS = 8
Broker = tuple[str, Process]


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker of this test alone, since it will be stopped."""
    monkeypatch.setenv("SIYU_HOME", str(tmp_path))
    info = local_stack.up()
    try:
        ensure_topics(Settings(kafka=info.kafka))
        yield info.kafka, Process("kafka", tmp_path)
    finally:
        local_stack.down()


class Load:
    """Clients that send one event after another, each half to Segment and to Sensors."""

    def __init__(self, edge: Edge) -> None:
        self._edge, self._over = edge, threading.Event()
        self._numbers, self._mark = itertools.count(), uuid.uuid4().hex
        self.accepted: set[str] = set()
        self.answers: Counter[tuple[str, int]] = Counter()
        self.since: Counter[tuple[str, int]] = Counter()
        self._threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def accepts(self) -> bool:
        """Tell if both doors have said 200 since ``since`` was cleared."""
        return all(self.since[door, 200] for door in ("segment", "sensors"))

    def _send(self) -> None:
        while not self._over.is_set():
            number = next(self._numbers)
            user = f"{self._mark}-{number}"
            door = ("segment", "sensors")[number % 2]
            try:
                status = self._post(door, user)
            except Dropped:
                status = 0
            if status == 200:
                self.accepted.add(user)
            self.answers[door, status] += 1
            self.since[door, status] += 1

    def _post(self, door: str, user: str) -> int:
        if door == "segment":
            body = json.dumps({"writeKey": "k-app", "userId": user, "event": "e"})
            return self._edge.post("/v1/track", body.encode()).status
        item = json.dumps({"distinct_id": user, "event": "e"})
        form = b"data=" + base64.b64encode(item.encode())
        return self._edge.post("/sa?token=k-mini", form).status


def freeze(process: Process) -> Callable[[], object]:
    pid = process.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def kill(process: Process) -> Callable[[], object]:
    assert process.kill()
    return local_stack.up


@pytest.mark.parametrize("stop", [freeze, kill])
def test_nothing_that_was_answered_200_is_lost_while_the_broker_is_away(
    broker: Broker, tmp_path: Path, stop: Callable[[Process], Callable[[], object]]
) -> None:
    kafka, process = broker
    with collector(kafka, tmp_path) as edge:
        until(lambda: ready(edge), "the edge is ready")
        with Load(edge) as load:
            until(lambda: len(load.accepted) > 500, "events are accepted")
            start_again = stop(process)
            load.since.clear()
            time.sleep(OUTAGE_S)
            away = Counter(load.since)
            assert edge.ask("GET", "/healthz").status == 200
            start_again()
            load.since.clear()
            until(load.accepts, "both doors accept again, by themselves")
        until(lambda: ready(edge), "the edge is ready again")
        log = edge.log.read_text("utf-8")
        stored = everything(kafka)
    assert load.accepted <= stored, len(load.accepted - stored)
    # What is not stored is told as the SDK needs it: Segment's sends again after 503, and the
    # mini-program's only where there was no answer.
    assert away["segment", 503] > 0
    assert away["sensors", 0] > 0
    assert {status for door, status in load.answers if door == "segment"} == {200, 503}
    assert {status for door, status in load.answers if door == "sensors"} == {200, 0}
    assert '"event": "fault"' not in log


def everything(kafka: str) -> set[str]:
    """Return the users of all that is in ``events.raw``."""
    tap = Tap(kafka, from_start=True)
    raw, _ = tap.look()
    tap.close()
    return {record.key.partition(b":")[2].decode() for record in raw}
