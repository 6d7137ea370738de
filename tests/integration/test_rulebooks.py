from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rulebook_harness import Shop, feeding
from tests.worker_harness import Feed, siyu, until, worker

pytestmark = pytest.mark.integration


@pytest.fixture
def feed(kafka: str) -> Iterator[Feed]:
    with feeding(kafka) as made:
        yield made


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
        # Another plan lets it pass here; to the worker's plan the event is a misspelt one.
        (tmp_path / "other").mkdir()
        other = Shop(shop.env["SIYU_KAFKA"], tmp_path / "other", event=f"{shop.event}s")
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


@pytest.mark.usefixtures("feed")
def test_a_rule_that_cannot_send_may_be_paused_but_neither_pushed_live_nor_resumed(
    shop: Shop, tmp_path: Path
) -> None:
    steps = [{"send": {"via": ["webhook"], "template": "t"}}]
    live = shop.book(tmp_path / "live.yaml", "t", steps=steps)
    refused = siyu(shop.env, "rules", "push", str(live))
    assert refused.returncode == 2
    assert "live.yaml:1: rule thanks: nothing can send it: webhook needs" in refused.stderr
    # Whoever has the account may push it; whoever has not can still stop it.
    configured = {**shop.env, "SIYU_WEBHOOK_URL": "http://127.0.0.1:9/touches"}
    assert siyu(configured, "rules", "push", str(live)).returncode == 0
    assert shop.switch("pause")["changed"] == {"thanks": "live -> paused"}
    resumed = siyu(shop.env, "rules", "resume", "thanks")
    assert resumed.returncode == 2
    assert "thanks: nothing can send it: webhook needs SIYU_WEBHOOK_URL" in resumed.stderr
    assert siyu(configured, "rules", "resume", "thanks").returncode == 0
