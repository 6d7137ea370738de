"""Bad bodies over all doors (``--bodies N``): no 500, no crash, no loss of what is good."""

import asyncio
import uuid
from collections import Counter
from pathlib import Path

import pytest

from schemas.events import Event
from schemas.raw import RawRecord
from schemas.rejects import Reject
from schemas.settings import Settings
from streams.authoring.plan import shipped_plan
from streams.commands.broker import ensure_topics
from streams.core.intake.validate import Validator
from tests.collect_harness import Edge, Tap, collector, ready, until
from tests.contract.fuzzer import Fuzzer, Shot, good

pytestmark = [pytest.mark.contract, pytest.mark.integration]
CHUNK = 10_000
CONNECTIONS = 12
GOOD_EVERY = 250
# What a door may say of a body, whatever it is; 404 is the front of a broken path.
ANSWERS = {200, 204, 400, 401, 403, 404, 413}
# Over the first chunks pools and caches fill; then nothing may grow with what was sent.
FLAT_MB = 48.0


class Wire:
    """One keep-alive connection, laid again after the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, shot: Shot) -> int:
        """Return the status; raises ``ConnectionError`` where there is no answer."""
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        reader, writer = self._ends
        try:
            writer.write(shot.bytes())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
            await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as gone:
            self.close()
            raise ConnectionError(shot.path) from gone
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Let go."""
        if self._ends is not None:
            self._ends[1].close()
            self._ends = None


async def fire(port: int, shots: list[Shot]) -> Counter[int]:
    """Send all; return how often each status came."""
    wires, statuses, left = [Wire(port) for _ in range(CONNECTIONS)], Counter[int](), iter(shots)

    async def one(wire: Wire) -> None:
        for shot in left:
            status = await wire.ask(shot)
            assert status in ANSWERS, (status, shot.path, shot.body[:2000])
            statuses[status] += 1
        wire.close()

    await asyncio.gather(*map(one, wires))
    return statuses


def rss_mb(edge: Edge) -> float:
    status = Path(f"/proc/{edge.process.pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def chunk_of(fuzzer: Fuzzer, size: int, start: int, mark: str) -> tuple[list[Shot], set[str]]:
    shots: list[Shot] = []
    wanted: set[str] = set()
    for number in range(start, start + size):
        shots.append(fuzzer.shot())
        if number % GOOD_EVERY == 0:
            shots += good(number, mark)
            wanted.add(f"{mark}-{number}")
    return shots, wanted


def check_stored(tap: Tap, validator: Validator, wanted: set[str], mark: str) -> Counter[str]:
    """Each good event is stored once for each door, and no stored body breaks the validator."""
    raw, rejects = tap.look()
    outcomes, found = Counter[str](), Counter[str]()
    for record in raw:
        outcome = validator.event(RawRecord(record.envelope, record.value), 0, 0)
        if isinstance(outcome, Event) and mark in outcome.user:
            found[outcome.user.rpartition(":")[2]] += 1
        outcomes[outcome.reason if isinstance(outcome, Reject) else "event"] += 1
    assert found == dict.fromkeys(wanted, 4)
    return outcomes + Counter(reject.reason for reject in rejects)


@pytest.mark.slow
def test_no_body_harms_a_door_or_the_good_events_in_between(
    kafka: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bodies = int(request.config.getoption("--bodies"))
    ensure_topics(Settings(kafka=kafka))
    fuzzer, mark, validator = (
        Fuzzer(bodies),
        f"good-{uuid.uuid4().hex[:8]}",
        Validator(b"key", shipped_plan()),
    )
    statuses, outcomes, sizes_mb = Counter[int](), Counter[str](), list[float]()
    with collector(kafka, tmp_path) as edge:
        until(lambda: ready(edge), "the edge is ready")
        tap = Tap(kafka)
        for start in range(0, bodies, CHUNK):
            shots, wanted = chunk_of(fuzzer, min(CHUNK, bodies - start), start, mark)
            statuses += asyncio.run(fire(edge.port, shots))
            outcomes += check_stored(tap, validator, wanted, mark)
            sizes_mb.append(rss_mb(edge))
            print(start + CHUNK, dict(statuses), f"{sizes_mb[-1]:.0f} MB", flush=True)  # noqa: T201 - shown with -s, and where it fails
        tap.close()
        log = edge.log.read_text("utf-8")
    assert '"event": "fault"' not in log
    # Neither the fuzzer nor the doors may be so strict that nothing is tried.
    assert len(outcomes) > 15, outcomes
    assert sizes_mb[-1] - min(sizes_mb[:2]) < FLAT_MB, sizes_mb
