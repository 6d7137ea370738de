"""A small history in which every chart of every dashboard has something to show."""

from datetime import date

from schemas.raw import Envelope
from schemas.rejects import Reject, encode_rejected, rejected
from schemas.settings import Settings
from schemas.touches import Decision, DeliveryStatus, Outcome, Receipt, encode
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import migrate
from sinks.clickhouse.views import make_views
from tests.bi_harness import NOON_MS, happened, land

FIRST_DAY, LAST_DAY = "2026-01-01", "2026-03-31"
USERS = 24
_OUTCOMES: tuple[Outcome, ...] = (
    "sent",
    "suppressed",
    "holdout",
    "exited",
    "held",
    "converted",
)
_STATUSES: tuple[DeliveryStatus, ...] = ("sent", "failed", "unknown")


def told_in(url: str) -> Settings:
    """Return the settings of an empty database that has the history and the views now."""
    settings = Settings(clickhouse=url)
    migrate(settings)
    make_views(settings)
    tell(settings)
    return settings


def tell(settings: Settings) -> None:
    """Land the history into migrated tables."""
    land(settings, "events", [event for number in range(USERS) for event in _life(number)])
    land(settings, "decisions", [_decision(n) for n in range(6 * USERS)])
    land(settings, "receipts", [_receipt(n) for n in range(USERS)])
    reject = rejected(Reject("parse", "not_json", "line 1"), _envelope(), b"{")
    land(settings, "events.rejected", [encode_rejected(reject)] * 3)
    client = connect(settings.clickhouse)
    client.execute("INSERT INTO channel_costs (day, channel, cost) VALUES", [_cost()])
    client.disconnect()


def _life(number: int) -> list[bytes]:
    """Return a user's events over a quarter: some buy again, some stay away."""
    user, begin = f"u{number}", float(number)
    context = {"channel": ("douyin", "wechat")[number % 2]}
    source = ("app", "mini_program")[number % 2]

    def one(event: str, days: float, **properties: object) -> bytes:
        return happened(
            user,
            event,
            begin + days,
            context=context,
            source=source,
            properties=properties,
            received_at_ms=NOON_MS + round((begin + days) * 86_400_000) + 1500,
            marks=["late"] if number % 5 == 0 else [],
        )

    events = [one("share_opened", 0, sharer=f"u{number - 1}")] if number % 3 else []
    events += [one("product_viewed", 0.001, sku="tea"), one("content_shared", 0.002)]
    if number % 4:
        events += [one("cart_added", 0.003), one("order_paid", 0.004, amount=50 + number)]
    if number % 4 > 1:
        events += [one("order_paid", 9 + number % 7, amount=80), one("product_viewed", 40)]
    if number % 8 == 7:
        events.append(one("order_refunded", 12, amount=10))
    return events


def _decision(n: int) -> bytes:
    outcome = _OUTCOMES[n % len(_OUTCOMES)]
    return encode(
        Decision(
            decision_id=f"d{n}",
            rule="cart_30m",
            rule_version="1",
            user=f"user_id:u{n % USERS}",
            outcome=outcome,
            reason="cap:marketing" if outcome == "suppressed" else outcome,
            time_ms=NOON_MS + (n % USERS) * 86_400_000,
            trigger_kind="absence",
            trigger=f"m{n}",
            variant="coupon5" if n % 4 < 2 else "coupon10",
        )
    )


def _receipt(n: int) -> bytes:
    return encode(
        Receipt(
            touch_id=f"t{n}",
            rule="cart_30m",
            rule_version="1",
            user=f"user_id:u{n}",
            channel="webhook",
            template="cart",
            status=_STATUSES[n % len(_STATUSES)],
            attempts=1,
            time_ms=NOON_MS + n * 86_400_000,
        )
    )


def _envelope() -> Envelope:
    return Envelope(door="native", source="app", account="shop", received_at_ms=NOON_MS)


def _cost() -> dict[str, object]:
    return {"day": date(2026, 1, 2), "channel": "douyin", "cost": 100}
