"""Time alone moves tags on the real clock: no event arrives, the worker's own tick does it."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import clock, topics
from schemas.settings import Settings
from schemas.touches import TagChanges, decode_tag_changes
from streams.commands.broker import ensure_topics
from tests.worker_harness import Feed, environment, unique, until, worker

pytestmark = pytest.mark.integration
log = logging.getLogger(__name__)
DAY_MS = 86_400_000
# So much of the 30 days is still to come when the event is sent: over the settle time.
LEFT_MS = 6000
LIFECYCLE = {
    "id": "lifecycle",
    "kind": "stage",
    "else": "dormant",
    "stages": [
        {"active": {"since_last": {"lt": "14d"}}},
        {"cooling": {"since_last": {"lt": "30d"}}},
    ],
}


@pytest.fixture
def feed(kafka: str) -> Iterator[Feed]:
    ensure_topics(Settings(kafka=kafka))
    made = Feed(kafka)
    yield made
    made.close()


def test_a_user_is_dormant_after_30_days_at_that_time_with_no_event_arriving(
    kafka: str, feed: Feed, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(json.dumps({"tags": [LIFECYCLE]}))
    (tmp_path / "plan.yaml").write_text(json.dumps({"events": {}}))
    shop = unique("shop")

    def changes(user: str) -> list[tuple[TagChanges, int]]:
        read = [
            (decode_tag_changes(r.value), r.timestamp)
            for r in feed.read_records(topics.TAGS)
            if f"user_id:{user}".encode() == r.key
        ]
        return sorted(read, key=lambda one: one[0].time_ms)

    with worker(environment(kafka, tmp_path), tmp_path / "log"):
        first = {"type": "track", "event": "app_started", "userId": f"{shop}-a"}
        feed.send([first], account=shop)
        until(lambda: changes(f"{shop}-a"), "the worker runs")
        now_ms = clock.now_ms()
        happened_ms = now_ms - 30 * DAY_MS + LEFT_MS
        last = first | {
            "userId": f"{shop}-b",
            "originalTimestamp": _text(happened_ms),
            "sentAt": _text(now_ms),
        }
        feed.send([last], account=shop, received_at_ms=now_ms)
        until(lambda: len(changes(f"{shop}-b")) == 3, "time has moved the stage to its end")
    found = changes(f"{shop}-b")
    stages = [(after, one.time_ms - happened_ms) for one, _ in found for _, _, after in one.changes]
    assert stages == [("active", 0), ("cooling", 14 * DAY_MS), ("dormant", 30 * DAY_MS)]
    # Never ahead of its time; the worker looks every 50 ms.
    dormant, written_ms = found[-1]
    assert written_ms >= dormant.time_ms
    assert dormant.message_id == ""
    log.info("written %d ms after its time", written_ms - dormant.time_ms)


def _text(time_ms: int) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_ms // 1000))
    return f"{whole}.{time_ms % 1000:03d}Z"
