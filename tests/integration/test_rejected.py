import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from clickhouse_driver import Client

from schemas import clock, topics
from schemas.events import Event, decode_event
from schemas.rejects import Rejected, decode_rejected
from schemas.settings import Settings
from schemas.touches import decode_decision
from streams.commands.broker import ensure_topics
from tests.collect_harness import free_port
from tests.worker_harness import Feed, environment, siyu, unique, until, worker

pytestmark = pytest.mark.integration
HOUR_MS = 3_600_000


@pytest.fixture
def feed(kafka: str) -> Iterator[Feed]:
    ensure_topics(Settings(kafka=kafka))
    made = Feed(kafka)
    yield made
    made.close()


class Shop:
    """One event of its own with a plan, a rule on it, and items whose amount is a text."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.event = folder, unique("tea_ordered")
        # Its own name, and so a fingerprint that no other test has.
        self.property = unique("amount")
        self.plan("number")
        rule = {
            "id": "thanks",
            "trigger": {"event": self.event},
            "steps": [{"send": {"via": ["log"], "template": "t"}}],
        }
        wait = {
            "id": "wait",
            "steps": rule["steps"],
            "trigger": {
                "absence": {
                    "after": {"event": self.event},
                    "within": "3h",
                    "none": {"event": "order_paid"},
                }
            },
        }
        (folder / "rules.yaml").write_text(json.dumps({"rules": [rule, wait]}))

    def plan(self, amount: str) -> None:
        event = {"properties": {self.property: {"type": amount, "required": True}}}
        (self.folder / "plan.yaml").write_text(json.dumps({"events": {self.event: event}}))

    def items(self, count: int) -> list[dict[str, Any]]:
        """Return items; every other one has no message id of its own."""
        found = []
        for n in range(count):
            item = {
                "userId": f"{self.event}-{n % 40}",
                "event": self.event,
                "type": "track",
                "properties": {self.property: "9.5", "n": n},
            }
            found.append(item if n % 2 else item | {"messageId": f"{self.event}-{n}"})
        return found

    def rejects(self, feed: Feed) -> list[Rejected]:
        found = [decode_rejected(value) for value in feed.read(topics.REJECTED)]
        return [one for one in found if self.event.encode() in one.body]

    def events(self, feed: Feed) -> list[Event]:
        found = [decode_event(value) for value in feed.read(topics.EVENTS)]
        return [one for one in found if one.event == self.event]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def told(env: dict[str, str], *words: str) -> dict[str, Any]:
    ended = siyu(env, "rejected", *words, "--json")
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def test_a_redrive_killed_at_every_step_sends_each_item_once_and_touches_nobody(
    kafka: str, feed: Feed, shop: Shop, tmp_path: Path
) -> None:
    env, log, count = environment(kafka, tmp_path), tmp_path / "log", 450
    long_ago_ms = clock.now_ms() - 2 * HOUR_MS
    feed.send(shop.items(count), account=shop.event, received_at_ms=long_ago_ms)
    with worker(env, log):
        until(lambda: len(shop.rejects(feed)) == count, "all are rejected")
        group = next(g for g in told(env, "list")["groups"] if shop.event in g["accounts"])
        assert (group["reason"], group["count"], group["redriven"]) == ("bad_property", count, 0)
        fingerprint = group["fingerprint"]
        assert told(env, "redrive", fingerprint, "--dry-run")["recovery_rate"] == 0.0
    shop.plan("string")
    dry = told(env, "redrive", fingerprint, "--dry-run")
    assert (dry["recovers"], dry["recovery_rate"], dry["sent"]) == (count, 1.0, 0)
    for point in ("redrive.after_send:2", "redrive.before_commit:2", "redrive.after_commit"):
        ended = siyu({**env, "SIYU_CRASH_AT": point}, "rejected", "redrive", fingerprint)
        assert ended.returncode == -9, point
    rest = told(env, "redrive", fingerprint)
    assert rest["already_redriven"] + rest["sent"] == count
    again = told(env, "redrive", fingerprint)
    assert (again["already_redriven"], again["sent"]) == (count, 0)
    with worker(env, log):
        until(feed.drained, "the worker has read all")
        until(lambda: _thanked(feed, shop) >= count, "the rule has decided on each")
    events = shop.events(feed)
    assert sorted(event.properties["n"] for event in events) == list(range(count))
    assert {event.received_at_ms for event in events} == {long_ago_ms}
    assert all("redriven" in event.marks for event in events)
    assert len(shop.rejects(feed)) == count
    assert _thanked(feed, shop) == count
    assert {(d.outcome, d.reason) for d in _decisions(feed, shop)} == {("suppressed", "redriven")}
    # Other tests leave records here that are no touches: look into the bytes.
    assert not [touch for touch in feed.read(topics.TOUCHES) if shop.event.encode() in touch]


def _thanked(feed: Feed, shop: Shop) -> int:
    return sum(decision.rule == "thanks" for decision in _decisions(feed, shop))


def _decisions(feed: Feed, shop: Shop) -> list[Any]:
    found = [decode_decision(value) for value in feed.read(topics.DECISIONS)]
    return [one for one in found if shop.event in one.user]


def test_what_is_rejected_again_is_a_reject_of_its_own_that_names_the_first(
    kafka: str, clickhouse_url: str, feed: Feed, shop: Shop, tmp_path: Path
) -> None:
    env = environment(kafka, tmp_path)
    feed.send(shop.items(3), account=shop.event)
    with worker(env, tmp_path / "log"):
        until(lambda: len(shop.rejects(feed)) == 3, "all are rejected")
        group = next(g for g in told(env, "list")["groups"] if shop.event in g["accounts"])
        fingerprint = group["fingerprint"]
        first = {one["id"] for one in told(env, "show", fingerprint)["rejects"]}
        assert told(env, "redrive", fingerprint)["sent"] == 0
        assert told(env, "redrive", fingerprint, "--force")["sent"] == 3
        until(lambda: len(shop.rejects(feed)) == 6, "all are rejected again")
        shown = told(env, "show", fingerprint, "--limit", "9")["rejects"]
        assert {one["redrive_of"] for one in shown} - {""} == first
        assert told(env, "redrive", fingerprint, "--force")["sent"] == 3
        until(lambda: len(shop.rejects(feed)) == 9, "the second ones were sent, the first not")
    landed = siyu({**env, "SIYU_CLICKHOUSE": clickhouse_url}, "migrate")
    assert landed.returncode == 0, landed.stderr
    landed = siyu({**env, "SIYU_CLICKHOUSE": clickhouse_url}, "land", "--once")
    assert landed.returncode == 0, landed.stderr
    with Client.from_url(clickhouse_url) as clickhouse:
        linked = clickhouse.execute(
            "SELECT redrive_of FROM rejects WHERE fingerprint = %(one)s AND redrive_of != ''",
            {"one": fingerprint},
        )
    assert len(linked) == 6
    assert first < {row[0] for row in linked}


def test_two_redrives_at_a_time_send_each_item_once(
    kafka: str, feed: Feed, shop: Shop, tmp_path: Path
) -> None:
    env, count = environment(kafka, tmp_path), 2000
    feed.send(shop.items(count), account=shop.event)
    with worker(env, tmp_path / "log"):
        until(lambda: len(shop.rejects(feed)) == count, "all are rejected")
        shop.plan("string")
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(siyu, env, "rejected", "redrive", "--reason", "bad_property")
            for _ in range(2)
        ]
        ended = [run.result() for run in runs]
    assert {one.returncode for one in ended} <= {0, 1}, ended
    assert any(one.returncode == 0 for one in ended), ended
    rest = told(env, "redrive", "--reason", "bad_property")
    raw = [body for body in feed.read(topics.RAW) if shop.event.encode() in body]
    assert len(raw) == 2 * count
    assert rest["sent"] == 0


def test_a_plan_that_rejects_everybody_stops_the_worker_and_loses_nothing(
    kafka: str, feed: Feed, shop: Shop, tmp_path: Path
) -> None:
    env, log = environment(kafka, tmp_path), tmp_path / "log"
    with worker(env, log):
        until(feed.drained, "what other tests left is out of the way")
    strict = {**env, "SIYU_REJECT_ALARM": "guard", "SIYU_REJECT_ALARM_ITEMS": "20"}
    with worker(strict, log) as running:
        for account in ("one", "two"):
            feed.send(shop.items(200), account=account + shop.event)
        assert until(running.poll, "the worker ended") == 1
    assert "mend the tracking plan" in log.read_text()
    shop.plan("string")
    with worker(strict, log):
        until(feed.drained, "the worker has read all")
    # The second account's items are twins of the first's.
    accepted, rejected = shop.events(feed), shop.rejects(feed)
    assert len(accepted) + len(rejected) == 400
    assert len(accepted) > 0
    reasons = {one.reason for one in rejected}
    assert reasons <= {"duplicate_message_id", "bad_property"}


def test_the_worker_tells_its_figures_and_health(
    kafka: str, feed: Feed, shop: Shop, tmp_path: Path
) -> None:
    port = free_port()
    env = environment(kafka, tmp_path, SIYU_WORKER_METRICS_PORT=str(port))

    def page(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def serves(path: str) -> bool:
        try:
            return bool(page(path))
        except (urllib.error.URLError, ConnectionError):
            return False

    with worker(env, tmp_path / "log"):
        until(lambda: serves("/healthz"), "it serves")
        until(lambda: serves("/readyz"), "all lanes are open")
        feed.send(shop.items(5), account=shop.event)
        until(
            lambda: f'siyu_worker_reject_ratio{{account="{shop.event}"}} 1.0' in page("/metrics"),
            "the ratio is told",
        )
        text = page("/metrics")
        assert 'siyu_worker_rejects_total{reason="bad_property",stage="validate"}' in text
        assert 'siyu_worker_commit_seconds_count{agent="ingest"}' in text
        for name in ("batches_total", "lag_records", "pending_records", "timers"):
            assert f'siyu_worker_{name}{{agent="engage"' in text, name


def test_a_tail_shows_what_arrives_and_what_became_of_it(
    kafka: str, feed: Feed, shop: Shop, tmp_path: Path
) -> None:
    env = environment(kafka, tmp_path)
    user = unique("tailed")
    good = {"userId": user, "event": shop.event, "properties": {shop.property: 9}}
    feed.send([good, {**good, "properties": {}}], account=shop.event)
    with worker(env, tmp_path / "log"):
        until(lambda: len(shop.events(feed)) == 1, "the event is there")
        # Other tests leave records here that are no touches: look into the bytes.
        until(lambda: any(user.encode() in v for v in feed.read(topics.TOUCHES)), "touch")
        until(lambda: any(user in d.user for d in _decisions_of(feed, user)), "decision")

    def tail(*words: str) -> list[dict[str, Any]]:
        ended = siyu(env, "tail", "--since", "10m", "--json", *words)
        return [json.loads(line) for line in ended.stdout.splitlines()]

    of_user = tail("--user", user, "--limit", "4")
    assert sorted(line["topic"] for line in of_user) == [
        "decisions",
        "events",
        "events.rejected",
        "touches",
    ]
    of_event = tail("--event", shop.event, "--limit", "4")
    assert {line["topic"] for line in of_event} == {line["topic"] for line in of_user}
    rejected = tail("--user", user, "--rejected", "--limit", "1")
    assert [line["reason"] for line in rejected] == ["bad_property"]


def _decisions_of(feed: Feed, user: str) -> list[Any]:
    return [d for d in map(decode_decision, feed.read(topics.DECISIONS)) if user in d.user]
