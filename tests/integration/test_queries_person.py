"""A merged user counts once in every question; an unbound one is two again."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clickhouse_driver import Client

from schemas.settings import Settings
from schemas.touches import Decision, encode
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import migrate
from sinks.clickhouse.query import refresh_persons
from tests.bi_harness import NOON_MS, ask, happened, land, paid, table

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(clickhouse_url: str) -> Settings:
    """One buyer that came as a follower, then in the app, and somebody else."""
    settings = Settings(clickhouse=clickhouse_url)
    migrate(settings)
    follower: dict[str, Any] = {
        "user": "openid:wx1:o",
        "identities": {"openid": "wx1:o"},
        "source": "official_account",
        "context": {"channel": "store"},
    }
    land(
        settings,
        "events",
        [
            happened("", "page_viewed", 0, **follower),
            happened("", "product_viewed", 0.001, **follower),
            happened("", "content_shared", 0.002, **follower),
            happened("a", "cart_added", 0.003),
            paid("a", 0.004, 10),
            paid("a", 31, 5),
            happened("b", "share_opened", 0.3, properties={"sharer": "a"}),
            happened("b", "page_viewed", 0.4),
        ],
    )
    decision = Decision(
        decision_id="d",
        rule="cart",
        rule_version="1",
        user="openid:wx1:o",
        outcome="sent",
        reason="passed",
        time_ms=NOON_MS,
        trigger_kind="event",
        trigger="m",
    )
    land(settings, "decisions", [encode(decision)])
    return settings


@pytest.fixture
def client(clickhouse_url: str) -> Iterator[Client]:
    migrate(Settings(clickhouse=clickhouse_url))
    client = connect(clickhouse_url)
    yield client
    client.disconnect()


def _link(client: Client, identifier: str, user: str, version: int) -> None:
    client.execute(
        "INSERT INTO identity_links (identifier, user, version) VALUES",
        [(identifier, user, version)],
    )


QUESTIONS: dict[str, tuple[Callable[[Settings], Any], Any, Any]] = {
    "active_users": (lambda s: max(table(s, "active_users", "users")), (3,), (2,)),
    "growth": (lambda s: ask(s, "growth")[0]["total"], 3, 2),
    "stickiness": (lambda s: ask(s, "stickiness")[0]["dau"], 3, 2),
    "retention": (lambda s: ask(s, "retention", period="month")[0]["cohort_size"], 3, 2),
    "lifecycle_flow": (lambda s: sum(r["users"] for r in ask(s, "lifecycle_flow")), 3, 2),
    "sessions": (lambda s: ask(s, "sessions")[0]["sessions"], 4, 3),
    "funnel": (lambda s: [r["users"] for r in ask(s, "funnel")], [1, 0, 0], [1, 1, 1]),
    "paths": (
        lambda s: ask(s, "paths", start="product_viewed")[0]["path"],
        "product_viewed > content_shared",
        "product_viewed > content_shared > cart_added > order_paid",
    ),
    "next_steps": (
        lambda s: ask(s, "next_steps", after="content_shared")[0]["next"],
        "(end)",
        "cart_added",
    ),
    "first_purchase": (lambda s: ask(s, "first_purchase")[0]["median_hours"], 0.024, 0.096),
    "repurchase": (lambda s: ask(s, "repurchase")[-1]["buyers"], 1, 1),
    "rfm": (lambda s: ask(s, "rfm")[0]["orders"], 2, 2),
    "channel_roi": (
        lambda s: table(s, "channel_roi", "channel new_users revenue"),
        [("unknown", 2, 15), ("store", 1, 0)],
        [("store", 1, 15), ("unknown", 1, 0)],
    ),
    "revenue_by_first_channel": (
        lambda s: table(s, "revenue_by_first_channel", "first_channel revenue"),
        [("unknown", 15)],
        [("store", 15)],
    ),
    "ltv": (lambda s: ask(s, "ltv", first="page_viewed")[0]["revenue"], 0, 10),
    "share_tree": (
        lambda s: table(s, "share_tree", "users brought"),
        [(1, 1), (1, 0)],
        [(1, 1), (1, 0)],
    ),
    "k_factor": (lambda s: ask(s, "k_factor")[0]["active"], 3, 2),
    "touch_lift": (lambda s: ask(s, "touch_lift", goal="order_paid")[0]["treated_reached"], 0, 1),
}


def test_a_merged_user_counts_once_in_every_question_and_an_unbound_one_is_two_again(
    settings: Settings, client: Client
) -> None:
    answers = {name: (ask(settings), one, two) for name, (ask, one, two) in QUESTIONS.items()}
    assert {name: found for name, (found, _, _) in answers.items()} == {
        name: before for name, (_, before, _) in QUESTIONS.items()
    }
    _link(client, "openid:wx1:o", "user_id:a", 1)
    assert {name: asked(settings) for name, (asked, _, _) in QUESTIONS.items()} == {
        name: after for name, (_, _, after) in QUESTIONS.items()
    }
    _link(client, "openid:wx1:o", "openid:wx1:o", 2)
    assert {name: asked(settings) for name, (asked, _, _) in QUESTIONS.items()} == {
        name: before for name, (_, before, _) in QUESTIONS.items()
    }


def test_merges_in_a_row_end_at_the_last_and_a_circle_ends(client: Client) -> None:
    for version, pair in enumerate(["ab", "bc", "cd", "xy", "yx", "dd"]):
        _link(client, f"user_id:{pair[0]}", f"user_id:{pair[1]}", version)
    found = dict(client.execute("SELECT identifier, user FROM user_of"))
    assert {name: found[f"user_id:{name}"] for name in "abc"} == dict.fromkeys("abc", "user_id:d")
    assert "user_id:d" not in found
    assert found.keys() >= {"user_id:x", "user_id:y"}
    refresh_persons(client)
    same = client.execute(
        "SELECT uniqExact(dictGet(persons, 'person', sipHash64(concat('user_id:', name))))"
        " FROM (SELECT arrayJoin(['a', 'b', 'c']) AS name)"
    )
    assert same == [(1,)]
