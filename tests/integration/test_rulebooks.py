import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from schemas import topics
from schemas.rulebooks import VERSION_KEY
from schemas.settings import Settings
from schemas.touches import Decision, decode_decision, decode_touch
from streams.runtime.broker import ensure_topics
from streams.runtime.rules.published import read_published
from tests.worker_harness import Feed, environment, siyu, unique, until, worker

pytestmark = pytest.mark.integration


@pytest.fixture
def feed(kafka: str) -> Iterator[Feed]:
    ensure_topics(Settings(kafka=kafka))
    made = Feed(kafka)
    yield made
    made.close()
    # The broker is the whole session's: later workers are to run their folders again.
    producer = KafkaProducer(bootstrap_servers=kafka)
    for version in asyncio.run(read_published(Settings(kafka=kafka))).versions:
        producer.send(topics.RULEBOOKS.name, None, VERSION_KEY + version.encode(), partition=0)
    producer.close()


class Shop:
    """One event of its own, and rulebooks that answer it with a template of their name."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self.folder, self.event, self.sent = folder, unique("tea_ordered"), 0
        (folder / "plan.yaml").write_text(json.dumps({"events": {self.event: {}}}))
        self.book(folder / "rules.yaml", "folder")
        self.env = environment(kafka, folder)

    def book(self, path: Path, template: str, **more: Any) -> Path:  # noqa: ANN401 - parts of a rule
        rule = {"id": "thanks", "trigger": {"event": self.event},
                "steps": [{"send": {"via": ["log"], "template": template}}], **more}  # fmt: skip
        path.write_text(json.dumps({"rules": [rule]}))
        return path

    def push(self, template: str, **more: Any) -> str:  # noqa: ANN401 - as book
        path = self.book(self.folder / f"{template}.yaml", template, **more)
        done = siyu(self.env, "rules", "push", str(path), "--json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["version"])

    def switch(self, command: str) -> dict[str, Any]:
        done = siyu(self.env, "rules", command, "thanks", "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def status(self) -> dict[str, Any]:
        done = siyu(self.env, "rules", "status", "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def everywhere(self, version: str) -> bool:
        partitions = self.status()["partitions"]
        return len(partitions) > 0 and all(one["version"] == version for one in partitions)

    def send(self, feed: Feed, count: int) -> None:
        items = [
            {"userId": f"{self.event}-{self.sent + n}", "event": self.event, "type": "track",
             "messageId": f"{self.event}-{self.sent + n}"}
            for n in range(count)
        ]  # fmt: skip
        self.sent += count
        feed.send(items, account="tea")

    def decisions(self, feed: Feed) -> list[Decision]:
        found = [decode_decision(value) for value in feed.read(topics.DECISIONS)]
        return [one for one in found if one.user.startswith(f"user_id:{self.event}")]

    def templates(self, feed: Feed) -> Counter[str]:
        """Return how many touches there are by template; each id is counted once."""
        found = [decode_touch(value) for value in feed.read(topics.TOUCHES)]
        mine = {t.touch_id: t.template for t in found if t.user.startswith(f"user_id:{self.event}")}
        return Counter(mine.values())


@pytest.fixture
def shop(kafka: str, tmp_path: Path) -> Shop:
    return Shop(kafka, tmp_path)


def test_a_push_changes_running_workers_and_a_pause_stops_a_rule(
    feed: Feed, shop: Shop, tmp_path: Path
) -> None:
    with worker(shop.env, tmp_path / "worker.log"):
        shop.send(feed, 20)
        until(lambda: len(shop.decisions(feed)) == 20, "the folder's rule decides")
        first = shop.push("first")
        until(lambda: shop.everywhere(first), "all partitions run what was pushed")
        shop.send(feed, 20)
        until(lambda: len(shop.decisions(feed)) == 40, "the pushed rule decides")
        assert shop.templates(feed)["first"] == 20
        paused = shop.switch("pause")
        assert paused["changed"] == {"thanks": "live -> paused"}
        until(lambda: shop.everywhere(paused["version"]), "all partitions run the pause")
        shop.send(feed, 20)
        until(feed.drained, "all is read")
    # A worker that comes later, with the same folder, runs what was pushed.
    with worker(shop.env, tmp_path / "worker.log"):
        resumed = shop.switch("resume")
        until(lambda: shop.everywhere(resumed["version"]), "all partitions run the rule again")
        shop.send(feed, 20)
        until(lambda: len(shop.decisions(feed)) == 60, "the rule decides again")
    versions = Counter(one.rulebook for one in shop.decisions(feed))
    assert versions[first] == versions[resumed["version"]] == 20
    assert paused["version"] not in versions
    assert shop.status()["rules"]["thanks"]["status"] == "live"


def test_a_broken_rulebook_is_not_published_and_one_that_a_worker_cannot_take_ends_none(
    feed: Feed, shop: Shop, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("rules: [{id: thanks, triger: {event: x}}]")
    done = siyu(shop.env, "rules", "push", str(broken))
    assert done.returncode == 2
    assert "broken.yaml:1" in done.stderr
    good = shop.push("good")
    with worker(shop.env, tmp_path / "worker.log") as process:
        until(lambda: shop.everywhere(good), "all partitions run what was pushed")
        # Another plan lets it pass here; the worker's plan does not know the event.
        (tmp_path / "other").mkdir()
        other = Shop(shop.env["SIYU_KAFKA"], tmp_path / "other")
        unknown = other.push("unknown")
        told = until(lambda: shop.status()["refused"], "the worker tells that it refuses")
        assert told[0]["version"] == unknown
        assert other.event in told[0]["problem"]
        shop.send(feed, 10)
        until(lambda: len(shop.decisions(feed)) == 10, "the version before goes on")
        assert process.poll() is None
        later = shop.push("later")
        until(lambda: shop.everywhere(later), "the next good one is taken")
        until(lambda: not shop.status()["refused"], "nothing is refused any more")
