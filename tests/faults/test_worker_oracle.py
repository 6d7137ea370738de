"""`siyu worker` is killed amid its work; then every user, event and touch must equal the oracle."""

import asyncio
import base64
import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import Settings
from streams.authoring.load import load_rulebook
from streams.commands.broker import ensure_topics
from streams.core.engine import Engine
from streams.runtime.state.shard import HEADER_BYTES
from tests.faults.conftest import SpareBroker
from tests.faults.shop import BIG, PARTITIONS, Shop, fold, sort_raw, touch_id

pytestmark = [pytest.mark.faults, pytest.mark.integration]

USERS = 200


@pytest.fixture
def shop(spare: SpareBroker, tmp_path: Path) -> Iterator[Shop]:
    ensure_topics(Settings(kafka=spare.address, partitions=PARTITIONS, replication=1))
    made = Shop(spare.address, tmp_path)
    yield made
    made.stop()


async def _check(shop: Shop, *, exploded: bool = False) -> None:
    raw, rejects = await shop.read("events.raw"), await shop.read("events.rejected")
    events = [json.loads(record.value) for record in await shop.read("events")]
    _check_fates(raw, events, [json.loads(record.value) for record in rejects])
    await _check_state(shop, fold(events, without="exploded" if exploded else ""))
    await _check_touches(shop, events)


def _check_fates(raw: Any, events: Any, rejects: Any) -> None:  # noqa: ANN401 - as JSON has it
    fates = sort_raw(raw)
    came = Counter((event["rawPartition"], event["rawOffset"]) for event in events)
    assert came == Counter(fates["accepted"])
    left: dict[str, list[tuple[int, int]]] = {"dedupe": [], "broken": [], "engage": []}
    for reject in rejects:
        kind = reject["stage"] if reject["stage"] in left else "broken"
        left[kind].append((reject["rawPartition"], reject["rawOffset"]))
    assert sorted(left["dedupe"]) == sorted(fates["dedupe"])
    assert sorted(left["broken"]) == sorted(fates["broken"])


async def _check_state(shop: Shop, expected: dict[str, dict[str, Any]]) -> None:
    engine = Engine(load_rulebook(shop.home / "rulebook"))
    latest = {record.key.decode(): record.value for record in await shop.read("state.engage")}
    far_ms = 2**45
    found = {
        user: engine.read_tags(engine.load(value[HEADER_BYTES:]), far_ms)
        for user, value in latest.items()
    }
    assert found.keys() == expected.keys()
    for user, profile in expected.items():
        assert found[user] == profile, user


async def _check_touches(shop: Shop, events: list[dict[str, Any]]) -> None:
    contents: dict[str, set[bytes]] = {}
    for record in await shop.read("touches"):
        contents.setdefault(json.loads(record.value)["touchId"], set()).add(record.value)
    paid = [e for e in events if e["event"] == "order_paid" and e["properties"]["amount"] >= BIG]
    version = json.loads(next(iter(next(iter(contents.values())))))["ruleVersion"]
    assert contents.keys() == {touch_id(event, version) for event in paid}
    assert {len(each) for each in contents.values()} == {1}
    decisions = [json.loads(record.value) for record in await shop.read("decisions")]
    sent = [one["touchId"] for one in decisions if one["outcome"] == "sent"]
    assert sorted(sent) == sorted(contents)


def test_after_kills_every_user_equals_the_oracle_before_and_after_a_cold_restore(
    shop: Shop,
) -> None:
    async def scenario() -> None:
        await shop.send(shop.messages(3000, USERS))
        for point in ("worker.after_state:4", "worker.after_touches:3", "worker.restored:5"):
            killed = shop.start(crash_at=point)
            assert await killed.ended() == -signal.SIGKILL, killed.said()
            await shop.send(shop.messages(300, USERS))
        last = shop.start()
        await shop.drained()
        await _check(shop)
        last.signal(signal.SIGTERM)
        assert await last.ended() == 0, last.said()
        # Cold: a store in memory has nothing. What it restored shows in what it counts on from.
        shop.start()
        await shop.send(shop.messages(600, USERS))
        await shop.drained()
        await _check(shop)

    asyncio.run(scenario())


def test_an_event_that_the_engine_raises_on_is_rejected_alone_and_its_neighbours_go_on(
    shop: Shop,
) -> None:
    async def scenario() -> None:
        items = shop.messages(300, USERS)
        exploded = [(b"u-1", shop.item("u-1", "exploded")) for _ in range(3)]
        await shop.send([*items[:150], *exploded, *items[150:]])
        worker = shop.start(program=str(Path(__file__).with_name("raising_worker.py")))
        await shop.drained()
        assert worker.alive
        rejects = [json.loads(record.value) for record in await shop.read("events.rejected")]
        bodies = [base64.b64decode(r["body"]) for r in rejects if r["stage"] == "engage"]
        ids = {json.loads(body)["messageId"] for body in bodies}
        assert ids == {json.loads(body)["messageId"] for _, body in exploded}
        assert len(bodies) == len(exploded)
        await _check(shop, exploded=True)

    asyncio.run(scenario())
