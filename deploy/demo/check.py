"""What ClickHouse holds of the day, counted, and the checks that it must pass.

The lander is read like any analyst would: by SQL. What the day must give is known
from the messages themselves (their fate), never from a second engine.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from deploy.demo.messages import AppCall, Callback, Message, MiniEvent
from deploy.demo.senders import Tally

# Rejects of these stages are records of later topics, no items that a door accepted.
_LATER_STAGES: Final = frozenset({"engage", "deliver"})
# An amount under it is no abandoned cart to the rulebook's cart_30m.
CART_AT_LEAST: Final = 50.0


class Store(Protocol):
    """A clickhouse-driver client, as far as it is used here."""

    def execute(self, query: str) -> Any:  # noqa: ANN401 - rows of any shape
        """Return the rows of a query."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The outcome as far as it follows from the seed alone."""

    landed: int
    rejected: int
    refused: int
    twins: int
    unpaid: frozenset[str]
    followers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Counts:
    """What the tables hold; ``redelivered`` is what a door stored but could not answer for."""

    landed: int = 0
    rejects: dict[tuple[str, str], int] = field(default_factory=dict)
    redelivered: int = 0
    later: int = 0
    tag_changes: int = 0
    decisions: dict[tuple[str, str], int] = field(default_factory=dict)
    decided: dict[str, frozenset[str]] = field(default_factory=dict)
    touch_ids: frozenset[str] = frozenset()
    receipts: tuple[str, ...] = ()
    receipt_status: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """Return the accepted items that became no event, each once."""
        return sum(self.rejects.values()) - self.redelivered


def expected(day: Iterable[Message], appid: str) -> Expected:
    """Return what must come of a day's messages."""
    sent = list(day)
    fates = Counter(message.fate for message in sent)
    carts: dict[str, set[str]] = {}
    paid: set[str] = set()
    followers: set[str] = set()
    for message in sent:
        user, name, properties = _fact(message, appid)
        if message.fate != "lands":
            continue
        if name == "cart_added" and properties["amount"] >= CART_AT_LEAST:
            carts.setdefault(user, set()).add(properties["cart_id"])
        elif name == "order_paid":
            paid.add(user)
        elif name == "official_account_followed":
            followers.add(user)
    return Expected(
        landed=fates["lands"],
        rejected=fates["rejected"],
        refused=fates["refused"],
        twins=_twins(sent),
        unpaid=frozenset(carts.keys() - paid),
        followers=frozenset(followers),
    )


def _fact(message: Message, appid: str) -> tuple[str, str, dict[str, Any]]:
    """Return (canonical user, event, properties) of a good message, as far as checks need it."""
    if isinstance(message, AppCall):
        arguments = message.arguments
        user = f"user_id:{arguments['user_id']}"
        return user, arguments.get("event", ""), arguments.get("properties", {})
    if isinstance(message, MiniEvent):
        identities = message.body["identities"]
        user = f"user_id:{identities.get('$identity_login_id', '')}"
        if user == "user_id:":
            found = [key for key in identities if key.endswith("_openid")]
            account = (
                found[0].removeprefix("$identity_mp_").removesuffix("_openid") if found else ""
            )
            user = f"openid:{account}:{identities.get(found[0], '') if found else ''}"
        return user, message.body["event"], message.body["properties"]
    if isinstance(message, Callback) and b"[subscribe]" in message.xml:
        opener = message.xml.split(b"<FromUserName><![CDATA[", 1)[1].split(b"]", 1)[0].decode()
        return f"openid:{appid}:{opener}", "official_account_followed", {}
    return "", "", {}


def _twins(sent: Sequence[Message]) -> int:
    """Return how many messages repeat an earlier one's id."""
    ids = [m.arguments["message_id"] for m in sent if isinstance(m, AppCall)]
    texts = [m.xml for m in sent if isinstance(m, Callback) and not m.flaw]
    return len(ids) - len(set(ids)) + len(texts) - len(set(texts))


def count(store: Store, want: Expected) -> Counts:
    """Read the tables; raises what clickhouse-driver raises when the store is down."""
    rejects, surplus, later = _rejects(store, want.twins)
    decided: dict[str, set[str]] = {}
    decisions: Counter[tuple[str, str]] = Counter()
    rows = store.execute("SELECT rule, outcome, user, count() FROM decisions GROUP BY ALL")
    for rule, outcome, user, number in rows:
        decisions[rule, outcome] += number
        decided.setdefault(rule, set()).add(user)
    sent = store.execute("SELECT touch_id FROM decisions WHERE outcome = 'sent'")
    receipts = store.execute("SELECT touch_id, channel, status FROM receipts")
    return Counts(
        landed=store.execute("SELECT count() FROM events")[0][0],
        rejects=rejects,
        redelivered=surplus,
        later=later,
        tag_changes=store.execute("SELECT count() FROM tag_changes")[0][0],
        decisions=dict(decisions),
        decided={rule: frozenset(users) for rule, users in decided.items()},
        touch_ids=frozenset(row[0] for row in sent),
        receipts=tuple(sorted(row[0] for row in receipts)),
        receipt_status=dict(Counter((channel, status) for _, channel, status in receipts)),
    )


def _rejects(store: Store, twins: int) -> tuple[dict[tuple[str, str], int], int, int]:
    """Return (accepted items by stage and reason, those stored twice, later stages' rows).

    A sender that got no answer sends the same bytes again, so a flawed item may stand
    twice (same body) and a good one leaves a ``dedupe`` row that the seed did not plan.
    """
    query = "SELECT stage, reason, count(), uniqExact(body) FROM rejects GROUP BY stage, reason"
    by_cause: dict[tuple[str, str], int] = {}
    surplus = later = 0
    for stage, reason, rows, bodies in store.execute(query):
        if stage in _LATER_STAGES:
            later += rows
            continue
        by_cause[stage, reason] = rows
        surplus += max(0, rows - twins) if stage == "dedupe" else rows - bodies
    return by_cause, surplus, later


def settled(counts: Counts, want: Expected, tally: Tally) -> bool:
    """Tell whether all that must come has come; late surplus is for the caller to wait out."""
    return (
        counts.landed + counts.rejected >= tally.accepted
        and want.unpaid <= counts.decided.get("cart_30m", frozenset())
        and want.followers <= counts.decided.get("welcome", frozenset())
        and counts.touch_ids <= set(counts.receipts)
    )


def checks(
    counts: Counts, want: Expected, tally: Tally, *, delivered: frozenset[str]
) -> dict[str, bool]:
    """Return each check by name; ``delivered`` are the keys that the provider saw."""
    webhook = counts.receipt_status.get(("webhook", "sent"), 0)
    return {
        "every_good_item_was_accepted": tally.accepted == want.landed + want.rejected,
        "forged_callers_were_refused": tally.refused == want.refused,
        "accepted_equals_landed_plus_rejected": (tally.accepted == counts.landed + counts.rejected),
        "landed_as_the_seed_made_them": counts.landed == want.landed,
        "only_unanswered_items_were_stored_twice": 0 <= counts.redelivered <= tally.retried,
        "nothing_failed_after_landing": counts.later == 0,
        "every_unpaid_cart_was_decided": (
            want.unpaid <= counts.decided.get("cart_30m", frozenset())
        ),
        "every_follower_was_decided": (
            want.followers <= counts.decided.get("welcome", frozenset())
        ),
        "each_touch_has_one_receipt": (
            sorted(counts.touch_ids) == list(counts.receipts) and len(counts.receipts) > 0
        ),
        "every_receipt_says_sent": all(status == "sent" for _, status in counts.receipt_status),
        "provider_saw_each_touch_once": len(delivered) == webhook and delivered <= counts.touch_ids,
    }
