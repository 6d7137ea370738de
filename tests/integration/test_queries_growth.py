"""Questions about users, paths, channels, shares and touches, against numbers counted by hand."""

from decimal import Decimal

import pytest

from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from schemas.touches import Decision, Outcome, encode
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import migrate
from tests.bi_harness import NOON_MS, ask, happened, land, paid, table

pytestmark = pytest.mark.integration

VISITS = [("a", 0), ("a", 1), ("a", 1.1), ("a", 3), ("b", 1), ("c", 3)]


@pytest.fixture
def empty(clickhouse_url: str) -> Settings:
    settings = Settings(clickhouse=clickhouse_url)
    migrate(settings)
    return settings


def test_growth_books_every_user_as_new_kept_returned_or_lost(empty: Settings) -> None:
    land(empty, "events", [happened(user, "page_viewed", day) for user, day in VISITS])
    assert table(empty, "growth", "start active new kept returned lost total quick_ratio") == [
        ("2026-01-01", 1, 1, 0, 0, 0, 1, None),
        ("2026-01-02", 2, 1, 1, 0, 0, 2, None),
        ("2026-01-03", 0, 0, 0, 0, 2, 2, 0),
        ("2026-01-04", 2, 1, 0, 1, 0, 3, None),
    ]
    assert table(empty, "growth", "active total", period="month") == [(3, 3)]


def test_stickiness_looks_back_7_and_30_days(empty: Settings) -> None:
    visits = [*VISITS, ("a", 9), ("b", 31)]
    land(empty, "events", [happened(user, "page_viewed", day) for user, day in visits])
    found = {row["day"]: row for row in ask(empty, "stickiness")}
    wanted = {
        "2026-01-04": (2, 3, 3),
        "2026-01-07": (0, 3, 3),
        "2026-01-10": (1, 2, 3),
        "2026-01-11": (0, 1, 3),
        "2026-02-01": (1, 1, 3),
        "2026-01-03": (0, 2, 2),
    }
    assert {
        day: (found[day]["dau"], found[day]["wau"], found[day]["mau"]) for day in wanted
    } == wanted
    assert found["2026-01-04"]["stickiness"] == 0.6667
    assert max(found) == "2026-02-01"
    # The days before the first one shown still count into its WAU and MAU.
    (row,) = ask(empty, "stickiness", **{"from": "2026-01-04", "to": "2026-01-04"})
    assert row == found["2026-01-04"]


def test_a_session_ends_at_a_pause_whatever_its_door_and_quarter(empty: Settings) -> None:
    # From noon: 14 and 16 lie in two quarters, 46 is thirty minutes after 16 and 76.1 is more.
    stays = [("a", "app", minute) for minute in (0, 14, 16, 76.1)]
    stays += [("a", "web", 46), ("b", "app", 29), ("b", "web", 20), ("b", "app", 59.5)]
    stays += [("c", "app", 12 * 60 - 5), ("c", "app", 12 * 60 + 5)]
    land(
        empty,
        "events",
        [
            happened(user, "page_viewed", minute / 1440, source=source)
            for user, source, minute in stays
        ],
    )
    columns = "start sessions users events_per_session mean_minutes median_minutes bounce_rate"
    assert table(empty, "sessions", columns) == [
        ("2026-01-01", 5, 3, 2, 13, 9, 0.4),
    ]
    assert table(empty, "sessions", "sessions", gap_s="1810") == [(4,)]
    assert table(empty, "sessions", "sessions users", source="web") == [(2, 2)]
    with pytest.raises(ConfigInvalid, match="900 or more"):
        ask(empty, "sessions", gap_s="899")


def test_paths_end_at_a_pause(empty: Settings) -> None:
    minutes = {
        "a": [("view", 0), ("view", 1), ("cart", 2), ("pay", 3), ("view", 60)],
        "b": [("home", 0), ("view", 30), ("cart", 31)],
    }
    land(
        empty,
        "events",
        [
            happened(user, name, minute / 1440)
            for user, story in minutes.items()
            for name, minute in story
        ],
    )
    assert table(empty, "next_steps", "event next times users share", after="view") == [
        ("view", "cart", 2, 2, 0.5),
        ("view", "(end)", 1, 1, 0.25),
        ("view", "view", 1, 1, 0.25),
    ]
    assert table(empty, "paths", "path visits users share", start="view") == [
        ("view", 1, 1, 0.3333),
        ("view > cart", 1, 1, 0.3333),
        ("view > cart > pay", 1, 1, 0.3333),
    ]
    assert table(empty, "paths", "path visits", depth="2", gap_s="1799") == [
        ("view > cart", 2),
        ("home", 1),
        ("view", 1),
    ]


def test_the_pipeline_is_timed_by_hours_or_any_step_from_midnight_on(empty: Settings) -> None:
    # Landed at noon of Shanghai; the first came late from its phone.
    minutes = [-30.5, -29.5, -1, -(12 * 60 + 1)]
    land(
        empty,
        "events",
        [
            happened(
                "a",
                "page_viewed",
                minute / 1440 - (3 if late else 0),
                marks=["late"] if late else [],
                received_at_ms=NOON_MS + round(minute * 60_000),
            )
            for late, minute in zip([True, False, False, False], minutes, strict=True)
        ],
    )
    columns = "time events late uplink_p50_s pipe_p50_ms"
    assert table(empty, "pipeline_delay", columns) == [
        ("2025-12-31T15:00:00+00:00", 1, 0, 0, 721 * 60_000),
        ("2026-01-01T03:00:00+00:00", 3, 1, 0, 29.5 * 60_000),
    ]
    halves = table(empty, "pipeline_delay", "time events pipe_p99_ms", step_s="1800")
    assert [row[:2] for row in halves] == [
        ("2025-12-31T15:30:00+00:00", 1),
        ("2026-01-01T03:00:00+00:00", 1),
        ("2026-01-01T03:30:00+00:00", 2),
    ]
    days = table(empty, "pipeline_delay", "time events", step_s="86400")
    assert days == [("2025-12-30T16:00:00+00:00", 1), ("2025-12-31T16:00:00+00:00", 3)]
    days = table(empty, "pipeline_delay", "time events", step_s="86400", tz="UTC")
    assert days == [("2025-12-31T00:00:00+00:00", 1), ("2026-01-01T00:00:00+00:00", 3)]
    with pytest.raises(ConfigInvalid, match="must be positive"):
        ask(empty, "pipeline_delay", step_s="0")


def test_the_lifecycle_flow_says_who_went_dormant(empty: Settings) -> None:
    days = {"leaving": [20], "back": [5, 59], "newcomer": [50, 60], "gone": [0], "kept": [16, 47]}
    land(
        empty,
        "events",
        [happened(user, "page_viewed", day) for user, every in days.items() for day in every],
    )
    columns = "before after users share"
    assert table(empty, "lifecycle_flow", columns) == [
        ("(unseen)", "active", 1, 1),
        ("active", "dormant", 1, 1),
        ("cooling", "active", 2, 1),
        ("dormant", "dormant", 1, 1),
    ]
    assert table(empty, "lifecycle_flow", columns, active_days="15") == [
        ("(unseen)", "active", 1, 1),
        ("active", "active", 1, 0.5),
        ("active", "dormant", 1, 0.5),
        ("cooling", "active", 1, 1),
        ("dormant", "dormant", 1, 1),
    ]


def test_channels_are_weighed_by_the_latest_cost_of_a_day(empty: Settings) -> None:
    douyin = {"context": {"channel": "douyin"}}
    land(
        empty,
        "events",
        [
            happened("x", "page_viewed", 0, **douyin),
            paid("x", 40, 100),
            happened("y", "page_viewed", 1, **douyin),
            paid("z", 2, 50),
            paid("z", 3, 20, "order_refunded"),
        ],
    )
    client = connect(empty.clickhouse)
    for channel, day, cost in (("douyin", 1, 30), ("douyin", 2, 5), ("wechat", 1, 10)):
        client.execute(
            "INSERT INTO channel_costs (day, channel, cost) SELECT %(d)s, %(c)s, %(m)s",
            {"d": f"2026-01-0{day}", "c": channel, "m": str(Decimal(cost))},
        )
    client.execute(
        "INSERT INTO channel_costs (day, channel, cost, updated_at)"
        " SELECT '2026-01-01', 'douyin', 45, now64(3) + 60"
    )
    client.disconnect()
    columns = "channel new_users buyers revenue cost cost_per_user cost_per_buyer roas roi"
    assert table(empty, "channel_roi", columns) == [
        ("douyin", 2, 1, 100, 50, 25, 50, 2, 1),
        ("unknown", 1, 1, 30, 0, 0, 0, None, None),
        ("wechat", 0, 0, 0, 10, None, None, 0, -1),
    ]
    assert table(empty, "channel_roi", "buyers revenue roi", within_days="30")[1] == (0, 0, -1)


def _decided(user: str, outcome: Outcome, reason: str, variant: str = "", days: int = 0) -> bytes:
    return encode(
        Decision(
            decision_id=f"{user}{days}",
            rule="cart",
            rule_version="1",
            user=f"user_id:{user}",
            outcome=outcome,
            reason=reason,
            time_ms=NOON_MS + days * 86_400_000,
            trigger_kind="event",
            trigger="m",
            variant=variant,
        )
    )


def test_lift_and_its_interval_are_those_that_newcombe_published(empty: Settings) -> None:
    # Newcombe 1998 (Statistics in Medicine 17:873), method 10: 56/70 - 48/80.
    treated = [_decided(f"t{n}", "sent", "passed", "ab"[n % 2]) for n in range(60)]
    capped = [_decided(f"t{n}", "suppressed", "cap:marketing") for n in range(60, 70)]
    held = [_decided(f"h{n}", "holdout", "holdout", "ab"[n % 2]) for n in range(80)]
    again = [_decided("t0", "sent", "passed", "a", days=1)]
    outside = [_decided("o", "suppressed", "audience")]
    land(empty, "decisions", treated + capped + held + again + outside)
    land(
        empty,
        "events",
        [
            *(paid(f"t{n}", 1, 10) for n in range(14, 70)),
            *(paid(f"h{n}", 3, 5) for n in range(48)),
            paid("t0", -0.1, 99),
            paid("t1", 3.01, 99),
            paid("h0", 2, 5),
            paid("o", 1, 7),
        ],
    )
    everyone, a, b = ask(empty, "touch_lift", goal="order_paid")
    columns = "variant treated treated_reached holdout holdout_reached"
    assert table(empty, "touch_lift", columns, goal="order_paid")[0] == ("all", 70, 56, 80, 48)
    assert [everyone[key] for key in ("lift", "lift_low", "lift_high")] == [0.2, 0.0524, 0.3339]
    assert everyone["relative_lift"] == 0.3333
    assert everyone["extra_reached"] == 14
    assert everyone["extra_revenue"] == 560 - 70 * (49 * 5) / 80
    assert (a["variant"], a["treated"], a["treated_reached"]) == ("a", 30, 23)
    assert (b["variant"], b["treated"], b["treated_reached"]) == ("b", 30, 23)


def test_a_rule_without_a_holdout_claims_no_lift(empty: Settings) -> None:
    land(empty, "decisions", [_decided("t", "sent", "passed")])
    columns = "variant treated holdout holdout_rate lift lift_low extra_reached"
    assert table(empty, "touch_lift", columns) == [("all", 1, 0, None, None, None, None)]


def test_a_rules_own_goal_counts_for_whom_was_to_be_treated(empty: Settings) -> None:
    land(
        empty,
        "decisions",
        [
            _decided("a", "sent", "passed", "x"),
            _decided("b", "held", "quiet:night", "x"),
            _decided("c", "suppressed", "exclusive", "y"),
            _decided("d", "suppressed", "shadow", "y"),
            _decided("e", "holdout", "holdout", "y"),
            _decided("f", "suppressed", "cooldown"),
            _decided("a", "converted", "treated", "x", days=9),
            _decided("e", "converted", "holdout", "y", days=2),
            # One that converted before it was treated again has not been brought by it.
            _decided("c", "converted", "treated", "y", days=-1),
        ],
    )
    columns = "variant treated treated_reached holdout holdout_reached"
    assert table(empty, "touch_lift", columns) == [
        ("all", 3, 1, 1, 1),
        ("x", 2, 1, 1, 1),
        ("y", 1, 0, 1, 1),
    ]


def test_shares_make_a_tree_of_those_they_brought(empty: Settings) -> None:
    def opened(user: str, days: float, sharer: str) -> bytes:
        return happened(user, "share_opened", days, properties={"sharer": sharer})

    land(
        empty,
        "events",
        [
            happened("a", "page_viewed", 0, identities={"user_id": "a", "openid": "wx1:o_a"}),
            happened("old", "page_viewed", 0),
            *(happened(user, "content_shared", 0.45) for user in ("a", "a", "b", "old")),
            opened("b", 0.2, "o_a"),
            opened("c", 0.3, "user_id:a"),
            opened("d", 0.4, "b"),
            # Neither who was there long before, nor oneself, is brought by a share.
            opened("old", 2, "a"),
            opened("self", 0.5, "self"),
            opened("self", 0.51, "d"),
        ],
    )
    columns = "generation users inviters brought per_inviter k"
    assert table(empty, "share_tree", columns) == [
        (0, 1, 1, 2, 2, 2),
        (1, 2, 1, 1, 1, 0.5),
        (2, 1, 0, 0, 0, 0),
    ]
    columns = "start active sharers shares new_by_share shares_per_user new_per_share k"
    assert table(empty, "k_factor", columns) == [
        ("2025-12-29", 6, 3, 4, 3, 0.6667, 0.75, 0.5),
    ]


def test_time_to_the_first_purchase_counts_from_the_first_event(empty: Settings) -> None:
    land(
        empty,
        "events",
        [
            *(happened(user, "page_viewed", 0) for user in "abc"),
            paid("a", 0.5, 1),
            paid("a", 0.1, 1),
            paid("b", 1.5, 1),
            happened("d", "page_viewed", 40),
        ],
    )
    columns = "cohort users buyers share share_1d share_7d median_hours p90_hours"
    assert table(empty, "first_purchase", columns) == [
        ("2026-01-01", 3, 2, 0.6667, 0.3333, 0.6667, 19.2, 32.64),
        ("2026-02-01", 1, 0, 0, 0, 0, None, None),
    ]


def test_value_is_less_its_refunds(empty: Settings) -> None:
    land(
        empty,
        "events",
        [
            paid("a", 0, 100),
            paid("a", 31, 20, "order_refunded"),
            paid("a", 62, 50),
            paid("b", 1, 40),
        ],
    )
    assert table(empty, "ltv", "cohort n users revenue cumulative ltv annualised") == [
        ("2026-01-01", 0, 2, 140, 140, 70, 840),
        ("2026-01-01", 1, 2, -20, 120, 60, 360),
        ("2026-01-01", 2, 2, 50, 170, 85, 340),
    ]
    columns = "start orders buyers revenue average_order refunded net_revenue"
    assert table(empty, "order_value", columns, period="month") == [
        ("2026-01-01", 2, 2, 140, 70, 0, 140),
        ("2026-02-01", 0, 0, 0, None, 20, -20),
        ("2026-03-01", 1, 1, 50, 50, 0, 50),
    ]
