from pathlib import Path

import pytest

from schemas.errors import ConfigInvalid, PartMissing
from schemas.events import encode_event
from schemas.settings import Settings
from schemas.touches import Decision, DeliveryStatus, Outcome, Receipt, encode
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import MIGRATIONS, migrate
from sinks.clickhouse.query import describe, names, run_query
from tests.bi_harness import NOON_MS, ask, land
from tests.land_harness import make_event

pytestmark = pytest.mark.integration

# user -> (event, minutes after noon, amount, channel), across three sources
STORIES: dict[str, list[tuple[str, int, float | None, str]]] = {
    "bought": [
        ("product_viewed", 0, None, "douyin"),
        ("cart_added", 5, 9, "wechat"),
        ("order_paid", 9, 19.9, "wechat"),
    ],
    "late": [
        ("product_viewed", 0, None, ""),
        ("cart_added", 5, 9, ""),
        ("order_paid", 1500, 5.05, ""),
    ],
    "backwards": [("cart_added", 0, 9, "douyin"), ("product_viewed", 1, None, "douyin")],
    "looker": [("product_viewed", 0, None, "wechat")],
    "returning": [
        ("product_viewed", 2 * 1440, None, "wechat"),
        ("order_paid", 2 * 1440 + 1, 100, "wechat"),
    ],
}


@pytest.fixture
def asked(clickhouse_url: str) -> Settings:
    settings = Settings(clickhouse=clickhouse_url)
    migrate(settings)
    events = [
        encode_event(
            make_event(
                number,
                user=f"user_id:{user}",
                event=event,
                timestamp_ms=NOON_MS + minutes * 60_000,
                source="app" if number % 2 else "mini_program",
                properties={} if amount is None else {"amount": amount},
                context={"channel": channel},
            )
        )
        for user, story in STORIES.items()
        for number, (event, minutes, amount, channel) in enumerate(story)
    ]
    land(settings, "events", events)
    return settings


def test_the_funnel_counts_ordered_steps_within_its_time(asked: Settings) -> None:
    assert [row["users"] for row in ask(asked, "funnel")] == [5, 2, 1]
    assert [row["users"] for row in ask(asked, "funnel", within_s="172800")] == [5, 2, 2]
    rows = ask(asked, "funnel", to="2026-01-01")
    assert [row["users"] for row in rows] == [4, 2, 1]
    assert rows[1]["share_of_first"] == rows[1]["share_of_previous"] == 0.5


def test_a_funnel_takes_any_list_of_events(asked: Settings) -> None:
    rows = ask(asked, "funnel", steps="cart_added, product_viewed")
    assert [(row["event"], row["users"]) for row in rows] == [
        ("cart_added", 3),
        ("product_viewed", 1),
    ]
    assert [row["users"] for row in ask(asked, "funnel", steps="order_paid")] == [3]
    with pytest.raises(ConfigInvalid, match="at most 10"):
        run_query(asked, "funnel", {"steps": ",".join("abcdefghijk")})


def test_a_funnel_of_nothing_is_zeros(asked: Settings) -> None:
    rows = ask(asked, "funnel", source="web")
    assert [(row["users"], row["share_of_first"]) for row in rows] == [(0, 0)] * 3


def test_a_user_of_two_sources_is_one_of_all(asked: Settings) -> None:
    rows = {(row["day"], row["source"]): row for row in ask(asked, "active_users")}
    sources = ("app", "mini_program", "all")
    assert [rows["2026-01-01", source]["users"] for source in sources] == [3, 4, 4]
    assert rows["2026-01-01", "all"]["events"] == 8


def test_revenue_goes_to_the_channel_that_came_first(asked: Settings) -> None:
    rows = {row["first_channel"]: row["revenue"] for row in ask(asked, "revenue_by_first_channel")}
    assert rows == {"douyin": 19.9, "wechat": 100.0, "unknown": 5.05}


def test_days_are_cut_in_the_asked_time_zone(asked: Settings) -> None:
    assert [row["gmv"] for row in ask(asked, "gmv_daily")] == [19.9, 5.05, 100.0]
    by_utc = ask(asked, "gmv_daily", tz="UTC")
    assert [row["day"] for row in by_utc] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    by_hawaii = ask(asked, "gmv_daily", tz="Pacific/Honolulu")
    assert [row["day"] for row in by_hawaii] == ["2025-12-31", "2026-01-01", "2026-01-02"]


def test_retention_follows_each_cohort(asked: Settings) -> None:
    rows = {(row["cohort"], row["n"]): row["share"] for row in ask(asked, "retention")}
    assert rows == {
        ("2026-01-01", 0): 1.0,
        ("2026-01-01", 1): 0.25,
        ("2026-01-03", 0): 1.0,
    }


def test_touches_say_what_was_sent_and_what_held_the_rest(asked: Settings) -> None:
    said: list[tuple[Outcome, str]] = [
        ("sent", "ok"),
        ("sent", "ok"),
        ("suppressed", "cap"),
        ("suppressed", "quiet"),
        ("holdout", "holdout"),
        ("exited", "paid"),
        ("held", "quiet"),
        ("converted", "goal"),
    ]
    decisions = [
        Decision(
            decision_id=str(n),
            rule="cart",
            rule_version="1",
            user="u",
            outcome=outcome,
            reason=reason,
            time_ms=NOON_MS,
            trigger_kind="event",
            trigger="m",
        )
        for n, (outcome, reason) in enumerate(said)
    ]
    became: list[DeliveryStatus] = ["sent", "unknown"]
    receipts = [
        Receipt(
            touch_id=str(n),
            rule="cart",
            rule_version="1",
            user="u",
            channel="webhook",
            template="t",
            status=status,
            attempts=1,
            time_ms=NOON_MS,
        )
        for n, status in enumerate(became)
    ]
    land(asked, "decisions", [encode(decision) for decision in decisions])
    land(asked, "receipts", [encode(receipt) for receipt in receipts])
    (row,) = ask(asked, "touches_by_rule")
    assert row == {
        "rule": "cart",
        "decided_sent": 2,
        "suppressed": 2,
        "held": 1,
        "holdout": 1,
        "exited": 1,
        "converted": 1,
        "delivered": 1,
        "failed": 0,
        "unknown": 1,
        "not_sent_by_reason": {"cap": 1, "quiet": 2, "holdout": 1, "paid": 1},
    }
    assert ask(asked, "touches_by_rule", rule="other") == []


@pytest.mark.parametrize("name", names())
def test_every_question_and_its_example_run_on_empty_tables_and_give_the_columns_it_states(
    clickhouse_url: str, name: str
) -> None:
    settings = Settings(clickhouse=clickhouse_url)
    migrate(settings)
    question = describe(name)
    assert run_query(settings, name)["columns"] == list(question.columns)
    assert question.answers
    pairs = question.example.removeprefix(name).replace("--param", "").split()
    run_query(settings, name, dict(pair.split("=", 1) for pair in pairs))


def test_a_value_never_becomes_sql(asked: Settings) -> None:
    for nasty in ("app' OR '1'='1", "\\", "'; DROP TABLE events; --", "{x:String}", "\n", "茶"):
        assert [row["users"] for row in ask(asked, "funnel", source=nasty)] == [0, 0, 0]
    assert [row["users"] for row in ask(asked, "funnel")] == [5, 2, 1]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"nope": "1"}, "no parameter 'nope'"),
        ({"within_s": "-1"}, "within_s"),
        ({"from": "yesterday"}, "from"),
        ({"tz": "Mars/Olympus"}, "Mars/Olympus"),
    ],
)
def test_a_wrong_parameter_is_told_by_name(
    asked: Settings, params: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigInvalid, match=said):
        run_query(asked, "funnel", params)


def test_a_period_that_is_none_is_told(asked: Settings) -> None:
    for name in ("retention", "growth", "ltv", "repurchase", "first_purchase", "k_factor"):
        with pytest.raises(ConfigInvalid, match="fortnight"):
            run_query(asked, name, {"period": "fortnight"})


def test_what_is_not_there_is_told_with_its_remedy(clickhouse_url: str) -> None:
    with pytest.raises(PartMissing, match="siyu migrate"):
        run_query(Settings(clickhouse=clickhouse_url), "funnel")
    with pytest.raises(PartMissing, match="siyu status"):
        run_query(Settings(clickhouse="clickhouse://default@127.0.0.1:1/siyu"), "funnel")


def test_migrations_apply_once_and_in_order(clickhouse_url: str) -> None:
    settings = Settings(clickhouse=clickhouse_url)
    assert migrate(settings) == sorted(path.name for path in MIGRATIONS.glob("*.sql"))
    assert migrate(settings) == []


def test_a_migration_cut_short_is_finished_by_the_next_run(
    clickhouse_url: str, tmp_path: Path
) -> None:
    settings = Settings(clickhouse=clickhouse_url)
    text = "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = MergeTree ORDER BY x;\n"
    (tmp_path / "0001.sql").write_text(text + "BROKEN;\n")
    with pytest.raises(Exception, match="BROKEN"):
        migrate(settings, folder=tmp_path)
    (tmp_path / "0001.sql").write_text(text + "SELECT 1;\n")
    assert migrate(settings, folder=tmp_path) == ["0001.sql"]


def test_an_applied_migration_may_neither_change_nor_go(
    clickhouse_url: str, tmp_path: Path
) -> None:
    settings = Settings(clickhouse=clickhouse_url)
    file = tmp_path / "0001.sql"
    file.write_text("SELECT 1;\n")
    migrate(settings, folder=tmp_path)
    file.write_text("SELECT 2;\n")
    with pytest.raises(ConfigInvalid, match=r"0001\.sql"):
        migrate(settings, folder=tmp_path)
    file.unlink()
    with pytest.raises(ConfigInvalid, match=r"0001\.sql"):
        migrate(settings, folder=tmp_path)


def test_every_column_of_every_table_has_a_comment(asked: Settings) -> None:
    client = connect(asked.clickhouse)
    bare = client.execute(
        "SELECT c.table, c.name FROM system.columns AS c"
        " JOIN system.tables AS t ON t.database = c.database AND t.name = c.table"
        " WHERE c.database = currentDatabase() AND c.comment = ''"
        # Views show their tables' columns; a dictionary's take no comment.
        " AND t.engine NOT IN ('MaterializedView', 'View', 'Dictionary')"
    )
    client.disconnect()
    assert bare == []
