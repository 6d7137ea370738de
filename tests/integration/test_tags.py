"""Tags from outside, rebuilt and audited: the real worker, lander and command line."""

import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clickhouse_driver.errors import Error as ClickHouseError

from schemas import clock
from schemas.settings import Settings
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import migrate
from streams.commands.broker import ensure_topics
from tests.land_harness import own_stack
from tests.worker_harness import Feed, environment, process, siyu, until, worker

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.faults]
HOUR_MS = 3_600_000
USERS = 40
FIRST = """
tags:
- {id: n, kind: count, event: "*"}
- {id: n_6h, kind: count, event: "*", window: 6h}
- {id: gmv, kind: sum, event: order_paid, value: properties.amount}
- {id: gmv_6h, kind: sum, event: order_paid, value: properties.amount, window: 6h}
- {id: mean, kind: avg, event: order_paid, value: properties.amount}
- {id: mean_6h, kind: avg, event: order_paid, value: properties.amount, window: 6h}
- {id: low_6h, kind: min, event: order_paid, value: properties.amount, window: 6h}
- {id: top, kind: max, event: order_paid, value: properties.amount}
- {id: first_sku, kind: first, event: product_viewed, value: properties.sku}
- {id: last_sku, kind: last, event: product_viewed, value: properties.sku}
- {id: skus, kind: distinct, event: product_viewed, value: properties.sku}
- {id: fav, kind: topk, event: [product_viewed, order_paid], value: properties.category, k: 2,
   weights: {order_paid: 4}, half_life: 6h}
- {id: heat, kind: decay, event: "*", weights: {order_paid: 5}, half_life: 6h}
- {id: spend, kind: decay, event: order_paid, value: properties.amount, half_life: 9h}
- {id: by_sku, kind: per_key, event: product_viewed, value: properties.sku}
- {id: hot, kind: flag, event: product_viewed, ttl: 3h, until: {event: order_paid}}
- {id: cycle, kind: stage, stages: [{new: {since_first: {lt: 3h}}}, {here: {since_last: {lt: 2h}}}],
   else: away}
- {id: rfm, kind: rfm, event: order_paid, value: properties.amount, recency: [1h, 2h, 5h, 9h]}
- {id: risk, kind: churn_risk, event: product_viewed, rhythm: 5h}
- {id: channel, kind: channel}
- {id: vip, kind: import}
- {id: tier, kind: value_tier, of: tag.gmv, quantiles: {high: 0.8, middle: 0.4}}
- {id: rate, kind: expr, compute: {divide: [tag.gmv, tag.n]}}
- id: picky
  kind: count
  event: order_paid
  where: {any: [{properties.amount: {gte: 120, lt: 900}, context.channel: {ne: ads}},
    {properties.category: {in: [tea, "o'pots"]}}, {not: {context.channel: {exists: true}}}]}
- {id: reads, kind: count, event: product_viewed, where: {properties.sku: {starts_with: "s1"},
   identities.user_id: {exists: true}, source: app}}
"""
CHANGED = {"picky": "gte: 120", "fav": "half_life: 6h", "n_6h": "window: 6h", "hot": "ttl: 3h"}
SECOND = (
    FIRST.replace("gte: 120", "gte: 60")
    .replace("k: 2", "k: 3")
    .replace("window: 6h}\n- {id: gmv,", "window: 30h}\n- {id: gmv,")
    .replace("ttl: 3h", "ttl: 9h")
    + "- {id: carts, kind: count, event: cart_added}\n"
)


class Shop:
    """A stack of its own, a rulebook that may change, and users who do things."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.feed, self.sent = Feed(settings.kafka), 0
        (folder / "plan.yaml").write_text("events: {}")
        self.env = environment(
            settings.kafka,
            folder,
            SIYU_CLICKHOUSE=settings.clickhouse,
            SIYU_LAND_MAX_DELAY_MS="50",
            SIYU_RULEBOOK=str(folder / "book"),
        )
        (folder / "book").mkdir()
        self._chance = random.Random(5)

    def rulebook(self, text: str) -> None:
        (self.folder / "book/tags.yaml").write_text(text)

    def run(self, *words: str, **env: str) -> tuple[int, Any]:
        done = siyu({**self.env, **env}, *words, "--json")
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def send(self, count: int, *, ago_h: float = 20.0) -> None:
        now_ms = clock.now_ms()
        items = []
        for _ in range(count):
            self.sent += 1
            at_ms = now_ms - round(self._chance.random() * ago_h * HOUR_MS)
            items.append(self._item(self.sent, at_ms))
        self.feed.send(items, account="shop")

    def landed(self) -> int:
        return self._count("SELECT count() FROM events WHERE raw_offset >= 0")

    def changed(self, tag: str) -> int:
        return self._count(f"SELECT uniqExact(user) FROM tag_changes WHERE tag = '{tag}'")  # noqa: S608 - a tag of ours

    def answers(self) -> bool:
        try:
            return self._count("SELECT 1") == 1
        except (ClickHouseError, OSError, EOFError):
            return False

    def _count(self, query: str) -> int:
        client = connect(self.settings.clickhouse)
        ((count,),) = client.execute(query)
        client.disconnect()
        return int(count)

    def _item(self, number: int, at_ms: int) -> dict[str, Any]:
        chance = self._chance
        channel = chance.choice(["ads", "qr:shop", None])
        return {
            "type": "track",
            "userId": f"u{chance.randrange(USERS)}",
            "messageId": f"m{number}",
            "event": chance.choice(["product_viewed", "order_paid", "cart_added", "app_started"]),
            "timestamp": datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(),
            "context": {"channel": channel} if channel else {},
            "properties": {
                "sku": f"s{chance.randrange(30)}",
                "amount": round(chance.random() * 300, 2),
                "category": chance.choice(["tea", "o'pots", "茶具", "gifts"]),
            },
        }


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with own_stack(tmp_path / "home") as info:
        settings = Settings(kafka=info.kafka, clickhouse=info.clickhouse)
        ensure_topics(settings)
        migrate(settings)
        made = Shop(tmp_path, settings)
        yield made
        made.feed.close()


def audited(shop: Shop) -> tuple[int, Any]:
    """Return the audit of all that was sent: worker and lander go each their own pace."""
    audits: list[tuple[int, Any]] = []

    def whole() -> bool:
        audits.append(shop.run("audit", "tags"))
        figures = audits[-1][1]["figures"]
        return bool(figures["events"] == shop.sent + 22 and not figures["behind"])

    until(whole, "all events in states")
    return audits[-1]


def imported(shop: Shop) -> None:
    rows = [f"u{n},{'gold' if n % 2 else 12}," for n in range(20)]
    file = shop.folder / "vip.csv"
    file.write_text(
        "user,value,at\n" + "\n".join(rows) + "\nu1,silver,2020-01-01\nnull,gold,\nu3\n"
    )
    for _ in range(2):
        status, told = shop.run("tags", "import", "vip", "--file", str(file))
        assert (status, told["sent"], told["bad_rows"]) == (1, 21, 2)
        assert [bad["line"] for bad in told["bad"]] == [23, 24]
    query = "SELECT 'u30' AS user, 7 AS value, '2026-01-01' AS at"
    status, told = shop.run("tags", "import", "vip", "--query", query)
    assert (status, told["sent"]) == (0, 1)
    # Those of the second run were dropped at the door as repeats.
    until(lambda: shop.landed() == shop.sent + 22, "imports in ClickHouse")


def test_tags_are_imported_rebuilt_and_equal_to_sql_over_raw_events(shop: Shop) -> None:
    shop.rulebook(FIRST)
    log = shop.folder / "log"
    with process(shop.env, log, "land"):
        with worker(shop.env, log):
            shop.send(600)
            until(lambda: shop.landed() == shop.sent, "events in ClickHouse")
            imported(shop)
            status, told = audited(shop)
            assert (status, told["findings"]) == (0, []), told
            figures = told["figures"]
            assert figures["users"] == USERS
            assert all(one["set"] for tag, one in figures["tags"].items() if tag != "tier"), figures
            payers = figures["tags"]["gmv"]["set"]
            until(lambda: shop.changed("gmv") == payers, "changes in ClickHouse")
            status, told = shop.run("tags", "bounds")
            assert (status, told["bounds"]["tier"]["users"]) == (0, payers)
            assert Path(told["file"]) == shop.folder / "book/bounds.yaml"
        # With the bounds beside it, in one folder.
        shop.rulebook(SECOND)
        with worker(shop.env, log) as running:
            shop.send(60)
            until(lambda: shop.landed() == shop.sent + 22, "events in ClickHouse")
            status, told = audited(shop)
            wrong = {one["tag"] for one in told["findings"]}
            assert (status, wrong) == (1, {"picky", "n_6h", "carts", "hot", "fav"} & wrong)
            assert {"picky", "n_6h", "carts"} <= wrong
            rebuilt(shop, wrong, running)
            status, told = audited(shop)
            assert (status, told["findings"]) == (0, []), told
            tiers = told["figures"]["tags"]["tier"]
            assert tiers["set"] >= payers
            explained(shop)


@contextmanager
def frozen(running: subprocess.Popen[bytes], for_s: float) -> Iterator[None]:
    """Stop a process for a while; a session of the group lasts longer."""
    running.send_signal(signal.SIGSTOP)
    timer = threading.Timer(for_s, running.send_signal, [signal.SIGCONT])
    timer.start()
    try:
        yield
    finally:
        timer.join()


def rebuilt(shop: Shop, tags: set[str], running: subprocess.Popen[bytes]) -> None:
    stop = threading.Event()

    def live() -> None:
        while not stop.is_set():
            shop.send(1, ago_h=2.0)
            time.sleep(0.2)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        killed = siyu(
            {**shop.env, "SIYU_CRASH_AT": "backfill.sending:15"}, "tags", "backfill", "picky"
        )
        assert killed.returncode == -9
        # The embedded engine may abort a moment after a client of its is killed, and start anew.
        time.sleep(1)
        until(shop.answers, "ClickHouse")
        # Events come all the time, so some users may be left: nobody may be wrong.
        status, told = shop.run("tags", "backfill", "n_6h", "--rounds", "2")
        assert isinstance(told, dict), told
        assert status == 0 or told["left"], str(told)
    finally:
        stop.set()
        thread.join()
    until(lambda: shop.landed() == shop.sent + 22, "events in ClickHouse")
    for tag in sorted(tags):
        # A worker that is behind the lander is no drift.
        with frozen(running, 4.0):
            status, told = shop.run("tags", "backfill", tag)
        assert (status, told["left"], told["audit"]["ok"]) == (0, 0, True), str(told)
    # A run of the same definition has nothing left to do.
    assert shop.run("tags", "backfill", "picky")[1]["users"] == 0
    status, told = shop.run("tags", "backfill", "rate")
    assert status == 2
    assert "made of other tags" in told


def explained(shop: Shop) -> None:
    status, told = shop.run("tags", "explain", "carts", "--user", "u3", "--limit", "5")
    assert status == 0
    assert told["value"] == told["events_that_count"] > 0
    assert len(told["events"]) == min(5, told["value"])
    (written,) = told["written"]
    assert written["value"] == told["value"]
    assert shop.run("tags", "explain", "crats")[0] == 2
