import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import topics
from schemas.touches import decode_touch
from tests.rulebook_harness import Shop, feeding
from tests.worker_harness import Feed, until, worker

pytestmark = [pytest.mark.faults, pytest.mark.integration]


@pytest.fixture
def feed(kafka: str) -> Iterator[Feed]:
    with feeding(kafka) as made:
        yield made


def touch_ids(feed: Feed, shop: Shop) -> dict[str, set[str]]:
    """Return the ids of all touches by user."""
    found: dict[str, set[str]] = {}
    for touch in map(decode_touch, feed.read(topics.TOUCHES)):
        if touch.user.startswith(f"user_id:{shop.event}"):
            found.setdefault(touch.user, set()).add(touch.touch_id)
    return found


def killed(feed: Feed, shop: Shop, process: subprocess.Popen[bytes]) -> bool:
    """Send until the worker is dead; say whether it is."""
    shop.send(feed, 20)
    return process.poll() == -signal.SIGKILL


def test_what_a_killed_worker_left_is_repeated_by_the_rulebook_it_ran(
    feed: Feed, shop: Shop, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    old = shop.push("old")
    with worker(shop.env, log):
        until(lambda: shop.everywhere(old), "all partitions run the old one")
    # Touches are out, and nothing that led to them is committed.
    with worker(shop.env | {"SIYU_CRASH_AT": "worker.touches_out"}, log) as process:
        until(lambda: killed(feed, shop, process), "the worker is killed")
    decided = {one.user for one in shop.decisions(feed)}
    assert touch_ids(feed, shop).keys() - decided, "the kill found nothing to repeat: a void run"
    new = shop.push("new")
    with worker(shop.env, log):
        until(lambda: len(shop.decisions(feed)) == shop.sent, "all is decided")
        until(lambda: shop.everywhere(new), "all partitions run the new one")
        shop.send(feed, 20)
        until(lambda: len(shop.decisions(feed)) == shop.sent, "the rest is decided, too")
    assert {len(ids) for ids in touch_ids(feed, shop).values()} == {1}
    assert shop.templates(feed)["new"] >= 20


@pytest.mark.parametrize("point", ["worker.switching:9", "worker.switched:6"])
def test_a_kill_amid_a_switch_leaves_one_touch_for_each_cause(
    point: str, feed: Feed, shop: Shop, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    with worker(shop.env | {"SIYU_CRASH_AT": point}, log) as process:
        shop.send(feed, 40)
        until(lambda: len(shop.decisions(feed)) == shop.sent, "the folder's rule decides")
        # The first four of each point are the openings.
        for number in range(6):
            shop.push(f"next{number}")
            shop.send(feed, 20)
            if process.poll() is not None:
                break
        until(lambda: process.poll() == -signal.SIGKILL, "the worker is killed amid a switch")
    last = shop.push("last")
    with worker(shop.env, log):
        until(lambda: len(shop.decisions(feed)) == shop.sent, "all is decided")
        until(lambda: shop.everywhere(last), "all partitions run the last one")
    assert {len(ids) for ids in touch_ids(feed, shop).values()} == {1}


@pytest.fixture
def shop(kafka: str, tmp_path: Path) -> Shop:
    return Shop(kafka, tmp_path)
