import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from clickhouse_driver import Client

from schemas import topics
from schemas.events import Event, encode_event
from schemas.rulebooks import read_files, version_of
from schemas.settings import ROOT, Settings
from schemas.touches import encode
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import migrate
from sinks.clickhouse.rows import build_parts, span_of
from streams.authoring.load import load_rulebook
from streams.commands.rules import fanout
from streams.commands.rules.backtest import backtest
from streams.commands.rules.compare import Span
from streams.core.engine import Engine
from streams.runtime.rulebooks.sources import find_book
from tests.engage_lane import LiveRun, Logged
from tests.engine_story import T0_MS, minutes

pytestmark = pytest.mark.integration
BOOK = """
tags: [{id: orders, kind: count, event: order_paid}]
rules:
- id: cart
  trigger:
    absence:
      after: {event: cart_added, where: {properties.amount: {gte: 50}}}
      none: {event: order_paid, join: [properties.cart_id]}
      within: 30m
  audience: {tag.orders: {lt: 2}}
  steps: [{send: {via: [log], template: cart}}]
- id: looks
  trigger: {count: {event: product_viewed, n: 3, within: 1h, by: properties.sku}}
  steps: [{send: {via: [log], template: looks}}]
- {id: stopped, status: paused, trigger: {event: order_paid},
   steps: [{send: {via: [log], template: stopped}}]}
"""
UNTIL_MS = minutes(24 * 60)


def event(user: int, name: str, at_min: float, **properties: Any) -> Event:  # noqa: ANN401 - JSON
    at_ms = minutes(at_min)
    return Event(
        message_id=f"{user}-{name}-{at_min}",
        type="track",
        event=name,
        user=f"user_id:u{user}",
        source="app",
        door="native",
        account="t",
        timestamp_ms=at_ms,
        received_at_ms=at_ms + user % 7,
        identities={"device_id": f"d{user}"},
        properties=properties,
    )


def day() -> list[Event]:
    """Return a day of 60 users: a third pays its cart, a third has a small one."""
    found = []
    for user in range(60):
        amount = 20 if user % 3 == 0 else 80
        found.append(event(user, "cart_added", user, cart_id="c", sku="s", amount=amount))
        if user % 3 == 1:
            found.append(event(user, "order_paid", user + 20, cart_id="c", order_id="o", amount=80))
        found += [
            event(user, "product_viewed", user + n, sku="s", category="k") for n in range(user % 4)
        ]
    return sorted(found, key=lambda one: one.received_at_ms)


def land(client: Client, topic: topics.Topic, values: Sequence[bytes]) -> None:
    records = [Logged(offset, b"", value, T0_MS) for offset, value in enumerate(values)]
    for part in build_parts(span_of(topic.name, 0, records), records):
        client.execute(part.table.insert_sql(), part.columns, columnar=True)


class Shop:
    def __init__(self, url: str, kafka: str, folder: Path) -> None:
        self.book = folder / "rules.yaml"
        self.book.write_text(BOOK)
        migrate(Settings(clickhouse=url))
        self.client = connect(url)
        self.env = os.environ | {
            "SIYU_CLICKHOUSE": url,
            "SIYU_KAFKA": kafka,
            "SIYU_RULEBOOK": str(self.book),
            "SIYU_HOME": str(folder),
        }

    def siyu(self, *words: str, status: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "streams.commands.cli", *words, "--json"],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def explain(self, user: int, rule: str) -> str:
        """Return why there is no decision."""
        told = self.siyu(
            "explain",
            f"u{user}",
            "--rule",
            rule,
            "--rulebook",
            str(self.book),
            "--to",
            "2026-03-03T10:00+08:00",
        )
        assert told["decisions"] == []
        return "; ".join(told["silent"][0]["why"])


@pytest.fixture(scope="module")
def shop(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 - a fixture
    """A day that ran live through engage and landed; nobody changes it."""
    url = f"{stack.clickhouse.rpartition('/')[0]}/backtest"
    made = Shop(url, stack.kafka, tmp_path_factory.mktemp("shop"))
    run = LiveRun(Engine(load_rulebook(made.book)))
    events = day()
    for start in range(0, len(events), 7):
        run.batch(events[start : start + 7])
        run.tick()
    run.tick(UNTIL_MS)
    land(made.client, topics.EVENTS, [encode_event(one) for one in events])
    land(made.client, topics.DECISIONS, [encode(one) for one in run.lane.decisions])
    yield made
    made.client.execute("DROP DATABASE backtest SYNC")
    made.client.disconnect()


def test_live_equals_backtest_and_a_lost_decision_is_seen(shop: Shop) -> None:
    told = shop.siyu("rules", "backtest", "--live", "--to", "2026-03-03T10:00+08:00")
    assert told["live"]["equal"]
    assert told["live"]["both"] == 20 + 15
    assert told["backtest"]["rulebook"] == version_of(read_files(shop.book))
    cart = told["rules"]["cart"]
    assert (cart["would_fire"], cart["reach"]) == (20, 20)
    assert all(sample["trace"][0]["ok"] for sample in cart["samples"])
    lost = shop.client.execute("SELECT decision_id FROM decisions WHERE rule = 'looks' LIMIT 1")
    sync = {"mutations_sync": 2}
    shop.client.execute(
        "ALTER TABLE decisions DELETE WHERE decision_id = %(id)s", {"id": lost[0][0]}, settings=sync
    )
    told = shop.siyu("rules", "backtest", "--live", "--to", "2026-03-03T10:00+08:00", status=1)
    assert told["live"]["only_backtest"] == 1
    assert told["live"]["samples"][0]["decision_id"] == lost[0][0]


def test_a_backtest_warms_up_on_all_that_came_before(shop: Shop) -> None:
    late = ["--from", "2026-03-02T11:00+08:00", "--to", "2026-03-03T10:00+08:00"]
    told = shop.siyu("rules", "backtest", *late)
    # A cart of before eleven is decided after it.
    before = sum(minutes(user + 30) < minutes(60) for user in range(60) if user % 3 == 2)
    assert told["rules"]["cart"]["would_fire"] == 20 - before


def test_a_paused_rule_can_be_asked_for_as_if_it_were_live(shop: Shop) -> None:
    told = shop.siyu("rules", "backtest", "--rule", "stopped", "--to", "2026-03-03T10:00+08:00")
    assert told["rules"]["stopped"]["would_fire"] == 20


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_several_processes_and_parts_find_what_one_finds(
    shop: Shop, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(clickhouse=shop.env["SIYU_CLICKHOUSE"])
    book, span = find_book(settings, str(shop.book)), Span(0, UNTIL_MS)
    alone = backtest(settings, book, span, live=True, quiet=True)
    monkeypatch.setattr(fanout, "_ALONE_EVENTS", 0)
    monkeypatch.setattr(fanout, "EVENTS_PER_PART", 40)
    monkeypatch.setattr(fanout, "_start_method", lambda: start)
    shared = backtest(settings, book, span, live=True, processes=2, quiet=True)
    for told in (alone, shared):
        for chance in ("seconds", "events_per_s"):
            del told[chance]
        for rule in told["rules"].values():
            del rule["samples"]  # whose they are is chance, too
    assert shared == alone
    assert shared["live"]["both"] > 30


def test_a_diff_names_who_gains_and_who_loses(shop: Shop, tmp_path: Path) -> None:
    other = tmp_path / "rules.yaml"
    other.write_text(BOOK.replace("gte: 50", "gte: 10").replace("n: 3", "n: 9"))
    told = shop.siyu("rules", "diff", str(shop.book), str(other), "--to", "2026-03-03T10:00+08:00")
    cart, looks = told["rules"]["cart"], told["rules"]["looks"]
    assert (cart["change"], cart["gain"], cart["lose"]) == ("changed", 20, 0)
    assert (looks["reach_old"], looks["reach_new"], looks["lose"]) == (15, 0, 15)
    assert cart["gains"][0]["old"] is None
    assert cart["gains"][0]["new"]["outcome"] == "sent"
    assert told["rules"]["stopped"]["change"] == "same"


def test_explain_tells_the_decision_or_what_of_the_trigger_did_not_hold(shop: Shop) -> None:
    told = shop.siyu("explain", "u2", "--rule", "cart", "--rulebook", str(shop.book))
    (decision,) = told["decisions"]
    assert (decision["outcome"], decision["trace"][0]["if"]) == ("sent", "tag.orders lt 2")
    assert "was ended by order_paid" in shop.explain(1, "cart")
    assert "the condition failed for all 1 of cart_added" in shop.explain(3, "cart")
    assert "count 2 of 3 within 1h" in shop.explain(2, "looks")
    assert "none of the user's 1 events is product_viewed" in shop.explain(0, "looks")
    assert "the rule is paused" in shop.explain(1, "stopped")
    unknown = shop.siyu("explain", "device_id:d7", "--rulebook", str(shop.book))
    assert (unknown["events"], unknown["known_as"]) == (0, ["user_id:u7"])
