import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import topics
from schemas.touches import decode_decision
from tests.rulebook_harness import feeding
from tests.worker_harness import Feed, environment, unique, until, worker

pytestmark = pytest.mark.faults

WITHIN_S = 3
SETTLE_MS = 1000
# Under the session's time-out: the partitions stay with the worker.
STOPPED_S = 5.0


@pytest.fixture
def feed(kafka: str) -> Iterator[Feed]:
    with feeding(kafka) as made:
        yield made


def test_what_came_while_the_worker_could_not_read_is_read_before_a_wait_fires(
    feed: Feed, kafka: str, tmp_path: Path
) -> None:
    cart, paid, shop = unique("tea_put"), unique("tea_paid"), unique("deaf")
    rule = {
        "id": "left",
        "steps": [{"send": {"via": ["log"], "template": "left"}}],
        "trigger": {
            "absence": {
                "after": {"event": cart},
                "none": {"event": paid, "join": []},
                "within": f"{WITHIN_S}s",
            }
        },
    }
    (tmp_path / "plan.yaml").write_text(json.dumps({"events": {cart: {}, paid: {}}}))
    (tmp_path / "rules.yaml").write_text(json.dumps({"rules": [rule]}))
    env = environment(
        kafka, tmp_path, SIYU_TIMER_SETTLE_MS=str(SETTLE_MS), SIYU_WORKER_SESSION_TIMEOUT_S="20"
    )

    def send(event: str, users: list[str]) -> None:
        items = [
            {"userId": user, "event": event, "type": "track", "messageId": f"{user}-{event}"}
            for user in users
        ]
        feed.send(items, account="tea")

    def decided() -> dict[str, str]:
        found = [decode_decision(value) for value in feed.read(topics.DECISIONS)]
        return {one.user: one.outcome for one in found if shop in one.user}

    payers, leavers = ([f"{shop}-{kind}-{n}" for n in range(20)] for kind in ("paid", "left"))
    with worker(env, tmp_path / "worker.log") as process:
        send(cart, [unique(shop)])  # wakes the lanes: none of them is new any more
        until(feed.drained, "the first is read")
        send(cart, [*payers, *leavers])
        until(feed.drained, "the carts are read")
        process.send_signal(signal.SIGSTOP)
        try:
            send(paid, payers)
            time.sleep(STOPPED_S)
        finally:
            process.send_signal(signal.SIGCONT)
        until(lambda: len(decided()) >= len(leavers) + 1, "the waits are over")
        until(feed.drained, "the payments are read")
    found = decided()
    assert [user for user in payers if f"user_id:{user}" in found] == []
    assert {found[f"user_id:{user}"] for user in leavers} == {"sent"}
