"""Runs landers as own processes against an own broker and ClickHouse that may be killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickhouse_driver import Client
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove

from deploy.local import stack as local_stack
from deploy.local.process import Process
from schemas import touches
from schemas.events import Event, encode_event
from schemas.raw import Envelope
from schemas.rejects import Reject, encode_rejected, rejected
from schemas.settings import Settings, at_home
from sinks.clickhouse.audit import audit
from sinks.clickhouse.client import connect
from sinks.clickhouse.land import GROUP
from sinks.clickhouse.migrate import migrate
from sinks.clickhouse.tables import BY_TOPIC, offsets_sql
from tests.land_log import Message, log_records, make_topics
from tests.land_proxy import Proxy, proxy

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 90.0
BASE_MS = 1_760_000_000_000


@dataclass
class Logged:
    """A record as the lander sees it, without a broker."""

    offset: int
    value: bytes | None
    timestamp: int = BASE_MS


def make_event(number: int, **fields: Any) -> Event:  # noqa: ANN401 - any field of an event
    """Return an event of one of 50 users."""
    user = f"u{number % 50}"
    known: dict[str, Any] = {
        "message_id": f"m{number}",
        "type": "track",
        "event": ("product_viewed", "cart_added", "order_paid")[number % 3],
        "user": f"user_id:{user}",
        "source": ("app", "mini_program", "official_account")[number % 3],
        "door": "segment",
        "account": "shop",
        "timestamp_ms": BASE_MS + number * 1000,
        "received_at_ms": BASE_MS + number * 1000 + 40,
        "identities": {"user_id": user},
        "context": {"channel": ("douyin", "wechat")[number % 2]},
        "properties": {"amount": number % 100 + 0.25, "sku": "茶-01", "category": "茶具"},
    }
    return Event(**known | fields)


def mixed(count: int, start: int = 0) -> list[Message]:
    """Return records of all landed topics, mostly events."""
    found: list[Message] = []
    for n in range(start, start + count):
        user = f"user_id:u{n % 50}"
        common: dict[str, Any] = {
            "rule": "cart_30m",
            "rule_version": "1",
            "user": user,
            "time_ms": BASE_MS + n,
        }
        found.append(("events", encode_event(make_event(n)), None))
        if n % 5 == 0:
            changes = touches.TagChanges(
                user=user,
                time_ms=BASE_MS + n,
                changes=[(f"view_{i}h", None, {"n": n}) for i in range(1 + n % 3)],
            )
            found.append(("tags", touches.encode(changes), None))
        if n % 7 == 0:
            decision = touches.Decision(
                decision_id=f"d{n}",
                outcome="suppressed" if n % 2 else "sent",
                reason="cap",
                trigger_kind="absence",
                trigger=f"m{n}",
                trace=[{"cap": False}],
                **common,
            )
            found.append(("decisions", touches.encode(decision), None))
        if n % 11 == 0:
            receipt = touches.Receipt(
                touch_id=f"t{n}",
                channel="webhook",
                template="cart",
                status="sent",
                attempts=1,
                **common,
            )
            found.append(("receipts", touches.encode(receipt), None))
        if n % 13 == 0:
            envelope = Envelope(door="native", source="app", account="a", received_at_ms=BASE_MS)
            record = rejected(
                Reject("parse", "not_json", "line 1"), envelope, b"\xff\x00{" + user.encode()
            )
            found.append(("events.rejected", encode_rejected(record), None))
    return found


class Bench:
    """One stack, its topics and what was committed to them so far."""

    def __init__(self, home: Path, info: local_stack.StackInfo) -> None:
        self.home = home
        self.settings = Settings(
            kafka=info.kafka, clickhouse=info.clickhouse, land_max_delay_ms=100, land_max_rows=700
        )
        self.sent: Counter[str] = Counter()
        self._running: list[subprocess.Popen[bytes]] = []
        self._logs = home / "landers.log"

    def client(self) -> Client:
        """Return a client of the landed database."""
        return connect(self.settings.clickhouse)

    def ask(self, query: str) -> Any:  # noqa: ANN401 - rows of any shape
        """Return the rows of a query."""
        client = self.client()
        try:
            return client.execute(query)
        finally:
            client.disconnect()

    def produce(self, messages: list[Message], *, abort_share: float = 0.2) -> None:
        """Write records in transactions, some of which abort after other records went out."""
        asyncio.run(log_records(self.settings.kafka, messages, abort_share))
        self.sent.update(topic for topic, _, _ in messages)

    def lander(
        self, *, crash_at: str = "", stop_at: str = "", once: bool = False, url: str = ""
    ) -> subprocess.Popen[bytes]:
        """Start a lander as its own process; ``url``: where it thinks that ClickHouse is."""
        knobs = {
            "SIYU_HOME": str(self.home),
            "SIYU_KAFKA": self.settings.kafka,
            "SIYU_CLICKHOUSE": url or self.settings.clickhouse,
            "SIYU_LAND_MAX_ROWS": str(self.settings.land_max_rows),
            "SIYU_LAND_MAX_DELAY_MS": str(self.settings.land_max_delay_ms),
            "SIYU_CRASH_AT": crash_at,
            "SIYU_STOP_AT": stop_at,
        }
        argv = [sys.executable, "-m", "streams.commands.cli", "land", *(["--once"] if once else [])]
        with self._logs.open("ab") as log:
            process = subprocess.Popen(
                argv, cwd=ROOT, env=os.environ | knobs, stdout=log, stderr=subprocess.STDOUT
            )
        self._running.append(process)
        return process

    def land_all(self, url: str = "") -> None:
        """Land all that is on the log, with a fresh process, however long while it gets on."""
        lander, landed = self.lander(once=True, url=url), -1
        while not _ended(lander):
            before, landed = landed, self.landed()
            assert landed > before, self.log()
        assert lander.returncode == 0, self.log()

    def log(self) -> str:
        """Return the end of the landers' log."""
        return self._logs.read_text("utf-8", "replace")[-4000:]

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a state that must come."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline_s, self.log()
            time.sleep(0.1)

    def landed(self) -> int:
        """Return how many records the raw tables hold."""
        # As quick as can be: some tests strike at the moment when this moves.
        counts = [
            f"SELECT {'count()' if table.rows_a_record == 1 else 'uniqExact(_partition, _offset)'}"  # noqa: S608 - our tables
            f" AS n FROM {table.name}"
            for table in BY_TOPIC.values()
        ]
        return int(self.ask(f"SELECT sum(n) FROM ({' UNION ALL '.join(counts)})")[0][0])  # noqa: S608 - as above

    def assert_no_fault(self) -> None:
        """Assert what must hold also while landers are at work."""
        report = audit(self.settings)
        assert report["ok"], (report["findings"], self.log())

    def assert_exact(self) -> dict[str, Any]:
        """Assert that ClickHouse holds each committed record once; return the figures."""
        report = audit(self.settings, settled=True)
        assert report["ok"], (report["findings"], self.log())
        figures: dict[str, Any] = report["figures"]
        counted = {topic: found["log"] for topic, found in figures["topics"].items()}
        landed = {topic: found["landed"] for topic, found in figures["topics"].items()}
        sent = {topic: self.sent[topic] for topic in BY_TOPIC}
        assert counted == landed == sent, (counted, landed, sent)
        return figures

    def proxy(self) -> AbstractContextManager[Proxy]:
        """Return a proxy before ClickHouse; give its ``url`` to landers."""
        return proxy(self.settings.clickhouse, self.holds)

    def holds(self, token: str) -> bool:
        """Tell whether ClickHouse holds all rows of an insert, by its token."""
        topic, partition, span = token.split("/", maxsplit=1)[0].split(":")[:3]
        first, last = span.split("-")
        rows = self.ask(
            f"SELECT min(_offset), max(_offset) FROM ({offsets_sql(topic)})"  # noqa: S608 - our tables
            f" WHERE _partition = {int(partition)} AND _offset IN ({int(first)}, {int(last)})"
        )
        return bool(rows == [(int(first), int(last))])

    def expel(self) -> None:
        """Take all members out of the group now, as the broker would after their session."""
        admin = KafkaAdminClient(bootstrap_servers=self.settings.kafka)
        try:
            group = admin.describe_groups([GROUP])[GROUP]
            members = [MemberToRemove(member_id=one["member_id"]) for one in group["members"]]
            if members:
                admin.remove_group_members(GROUP, members)
        finally:
            admin.close()

    def signal_clickhouse(self, number: signal.Signals) -> None:
        """Stop or continue ClickHouse, with the engine below its keeper."""
        pid = Process("clickhouse", self.home).pid()
        assert pid is not None
        os.killpg(pid, number)

    def kill(self, part: str) -> None:
        """Kill -9 ``kafka`` or ``clickhouse``."""
        assert Process(part, self.home).kill()

    def restore(self) -> None:
        """Start again what was killed."""
        with at_home(self.home):
            local_stack.up()

    def stop_landers(self) -> None:
        """End what a test left running."""
        for process in self._running:
            if process.poll() is None:
                process.terminate()  # a killed one would keep its partitions for the session
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


@contextmanager
def own_stack(home: Path) -> Iterator[local_stack.StackInfo]:
    """Run a broker and a ClickHouse of one test alone, with no topics or tables."""
    with at_home(home):
        info = local_stack.up()
    try:
        yield info
    finally:
        with at_home(home):
            local_stack.down()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        return False
    return True


@contextmanager
def bench(home: Path) -> Iterator[Bench]:
    """Yield a bench on an own stack with the landed topics made and the tables migrated."""
    with at_home(home):
        info = local_stack.up()
    try:
        one = Bench(home, info)
        asyncio.run(make_topics(info.kafka))
        migrate(one.settings)
        yield one
        one.stop_landers()
    finally:
        with at_home(home):
            local_stack.down()
