"""Segments: in ClickHouse as in the engine, at once and by time alone, and kept in YAML."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from clickhouse_driver import Client

from schemas.events import Event
from schemas.segments import SegmentTag
from schemas.settings import Settings
from schemas.touches import TagChange
from sinks.clickhouse.migrate import migrate
from streams.authoring.load import load_rulebook
from streams.commands.segments.store import SegmentStore
from streams.core.engine import Engine
from streams.core.rulebook import Rulebook
from tests.land_harness import make_event

pytestmark = pytest.mark.integration

HOUR_MS = 3_600_000
START_MS = 1_760_000_000_000
TAGS = """
tags:
- {id: views, kind: count, event: product_viewed}
- {id: gmv, kind: sum, event: order_paid, value: properties.amount, window: 30d}
- {id: last_cat, kind: last, event: product_viewed, value: properties.category}
- {id: cats, kind: topk, event: product_viewed, value: properties.category, k: 2}
- {id: by_cat, kind: per_key, event: product_viewed, value: properties.category}
- {id: payer, kind: flag, event: order_paid, ttl: 90d}
- {id: rfm, kind: rfm, event: order_paid, value: properties.amount}
- {id: basket, kind: avg, event: order_paid, value: properties.amount}
- {id: first_price, kind: first, event: order_paid, value: properties.amount}
- {id: tier, kind: expr, cases: [{high: {tag.gmv: {gte: 300}}}], else: low}
segments:
"""
# Each shape of the language at least once; the texts would break SQL or JSON if they could.
CONDITIONS = [
    "{tag.views: 3}",
    "{tag.views: {gte: 2, lt: 6}}",
    "{tag.views: {in: [1, 4, 9]}}",
    "{tag.gmv: {gt: 120.5}}",
    "{tag.views: {lt: 1}}",
    "{tag.last_cat: tea}",
    "{tag.last_cat: 'it\"s %(x)s {a} \\'}",
    "{tag.last_cat: {ne: tea}}",
    "{tag.last_cat: {gt: m}}",
    "{tag.last_cat: {starts_with: 茶}}",
    "{tag.last_cat: {in: [tea, '12']}}",
    "{tag.last_cat: '12'}",
    "{tag.cats: {has: 茶具}}",
    "{tag.by_cat: {has: tea}}",
    "{tag.by_cat.tea: {gte: 2}}",
    "{tag.payer: true}",
    "{tag.payer: false}",
    "{tag.rfm.segment: {starts_with: general}}",
    "{tag.rfm.m: {gte: 2}}",
    "{tag.basket: {exists: false}}",
    "{not: {tag.basket: {gte: 100}}}",
    "{any: [{tag.tier: high}, {tag.views: {gte: 6}}]}",
    "{all: [{tag.tier: low}, {not: {any: [{tag.payer: true}, {tag.last_cat: tea}]}}]}",
    "{tag.basket: $tag.first_price}",
    "{tag.basket: {ne: $tag.first_price}}",
    "{tag.gmv: {gt: $tag.first_price}}",
    "{tag.views: {ne: $tag.last_cat}}",
    "{tag.cats: {has: $tag.last_cat}}",
    "{tag.segment_s0: true}",
    "{not: {tag.segment_s1: true}, tag.gmv: {gte: 1}}",
]
CATEGORIES = ["tea", "茶具", "茶叶", "12", 'it"s %(x)s {a} \\', "zebra"]


@pytest.fixture(scope="module")
def rulebook(tmp_path_factory: pytest.TempPathFactory) -> Rulebook:
    folder = tmp_path_factory.mktemp("rulebook")
    lines = [f"- {{id: s{i}, where: {one}}}\n" for i, one in enumerate(CONDITIONS)]
    (folder / "segments.yaml").write_text(TAGS + "".join(lines), "utf-8")
    return load_rulebook(folder)


@pytest.fixture
def settings(clickhouse_url: str) -> Settings:
    made = Settings(clickhouse=clickhouse_url)
    migrate(made)
    return made


def story(chance: random.Random, user: str) -> Iterator[Event]:
    for number in range(chance.randrange(1, 9)):
        paid = chance.random() < 0.35
        properties: dict[str, Any] = {"category": chance.choice(CATEGORIES)}
        if paid:
            properties = {"amount": chance.choice([40, 99.99, 120.5, 400])}
        at_ms = START_MS + number * HOUR_MS
        yield make_event(
            number,
            user=user,
            event="order_paid" if paid else "product_viewed",
            properties=properties,
            timestamp_ms=at_ms,
            received_at_ms=at_ms,
            message_id=f"{user}-{number}",
        )


def insert(
    client: Client, changes: list[tuple[str, TagChange]], chosen: list[int] | None = None
) -> None:
    rows = [
        (
            user,
            one.tag,
            json.dumps(one.before, ensure_ascii=False),
            json.dumps(one.after, ensure_ascii=False),
            one.time_ms,
            one.message_id,
            0,
            offset,
            START_MS + offset,
        )
        for offset, (user, one) in ((i, changes[i]) for i in chosen or range(len(changes)))
    ]
    columns = "user, tag, before, after, time, message_id, _partition, _offset"
    client.execute(f"INSERT INTO tag_changes ({columns}, _logged_at) VALUES", rows)


@pytest.mark.usefixtures("settings")
def test_what_is_inserted_twice_or_out_of_order_leaves_the_latest_of_each_tag(
    clickhouse: Client,
) -> None:
    steps = [("views", 1), ("cat", "tea"), ("views", 2), ("cat", None), ("views", 3)]
    changes = [
        (
            "user_id:u",
            TagChange(tag=tag, before=None, after=after, time_ms=START_MS - i, message_id=f"m{i}"),
        )
        for i, (tag, after) in enumerate(steps)
    ]
    for chosen in ([4, 1], [0, 3], [2, 4], [1, 0, 2, 3, 4]):
        insert(clickhouse, changes, chosen)
    for merge in (False, True):
        if merge:
            clickhouse.execute("OPTIMIZE TABLE tags_latest FINAL")
        latest = clickhouse.execute("SELECT user, tag, value, message_id FROM user_tags")
        # The log decides, not the times of the events, which run backwards here.
        assert latest == [("user_id:u", "views", "3", "m4")]
        profiles = clickhouse.execute("SELECT user, tags, since FROM profiles")
        assert [(user, tags) for user, tags, _ in profiles] == [("user_id:u", {"views": "3"})]
        assert profiles[0][2]["views"].timestamp() * 1000 == START_MS - 4


def test_clickhouse_and_the_engine_agree_on_who_is_in_for_every_shape_of_a_condition(
    rulebook: Rulebook, settings: Settings, clickhouse: Client
) -> None:
    engine, chance = Engine(rulebook), random.Random(5)
    changes: list[tuple[str, TagChange]] = []
    live: dict[str, set[str]] = {tag.id: set() for tag in rulebook.tags}
    for number in range(250):
        user, state = f"user_id:u{number}", engine.load(None)
        for event in story(chance, user):
            changes += [(user, one) for one in engine.on_event(state, event).tag_changes]
        for tag, value in engine.read_tags(state, state.latest_ms).items():
            live[tag] |= {user} if value is True else set()
    insert(clickhouse, changes)
    store = SegmentStore(settings, rulebook)
    for segment in (tag for tag in rulebook.tags if isinstance(tag, SegmentTag)):
        members = {user for user, _ in store.members(segment)}
        assert members == live[segment.id], segment.where
        assert store.count(segment) == len(members)
        # Everybody came by an event, so each entry was written.
        assert store.entered(segment) == len(members)
    # Four ask for nothing but absence, which nobody has shown; the others divide the users.
    divided = [one for one, users in live.items() if one.startswith("segment_") and users]
    assert len(divided) >= len(CONDITIONS) - 4
    store.close()
