"""Answers about CDNOW's 69,659 orders equal those of a second implementation in plain Python."""

import json
import statistics
import time
from base64 import b64encode
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from deploy.local import fetch, stack
from schemas.settings import Settings
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import migrate
from streams.commands.broker import ensure_topics
from tests.bi_harness import DAY_MS, ask, happened, land, table
from tests.collect_harness import Edge, collector
from tests.worker_harness import environment, process

pytestmark = pytest.mark.integration

# The package `lifetimes` is fetched for its data file alone: it would bring scipy and pandas.
LOCK = Path(__file__).parent / "cdnow.lock"
START = date(1997, 1, 1)
EVER = {"from": "1997-01-01"}
FUNNEL_DAYS = 60
LARGE_CDS = 4
NOON_UTC = clock(4)  # noon in Shanghai
BATCH = 500


@dataclass(frozen=True)
class Order:
    user: str
    day: date
    cds: int
    amount: Decimal

    @property
    def kind(self) -> str:
        return "large_bought" if self.cds >= LARGE_CDS else "small_bought"


def _month(day: date) -> int:
    return day.year * 12 + day.month


def _read() -> list[Order]:
    folder = fetch.wheel("CDNOW's log", LOCK) / "lib/lifetimes/datasets"
    lines = (folder / "CDNOW_master.txt").read_text("ascii").splitlines()[1:]
    return [
        Order(user, date.fromisoformat(day), int(cds), Decimal(amount))
        for user, day, cds, amount in map(str.split, lines)
    ]


Histories = dict[str, list[Order]]


@pytest.fixture(scope="module")
def orders() -> list[Order]:
    return _read()


@pytest.fixture(scope="module")
def by_user(orders: list[Order]) -> Histories:
    found: Histories = defaultdict(list)
    for order in sorted(orders, key=lambda order: order.day):
        found[order.user].append(order)
    return found


@pytest.fixture
def cdnow(clickhouse_url: str, orders: list[Order]) -> Settings:
    settings = Settings(clickhouse=clickhouse_url)
    migrate(settings)
    values = []
    for order in orders:
        days = (order.day - date(2026, 1, 1)).days
        properties = {"amount": float(order.amount)}
        values.append(happened(order.user, "order_paid", days, properties=properties))
        later = 1 / 86_400 if order.kind == "large_bought" else 0
        values.append(happened(order.user, order.kind, days + later))
    land(settings, "events", values)
    return settings


def _check_repurchase(settings: Settings, users: Histories) -> None:
    cohorts: dict[str, list[list[Order]]] = defaultdict(list)
    for every in users.values():
        cohorts[every[0].day.replace(day=1).isoformat()].append(every)
        cohorts["all"].append(every)
    wanted = []
    for cohort in sorted(cohorts):
        buyers = cohorts[cohort]
        gaps = [(b.day - a.day).days for every in buyers for a, b in pairwise(every)]
        again = sum(len(every) > 1 for every in buyers)
        count = sum(map(len, buyers))
        wanted.append(
            (
                cohort,
                len(buyers),
                again,
                round(again / len(buyers), 4),
                count,
                round(statistics.fmean(gaps), 4),
                statistics.median(gaps),
            )
        )
    columns = (
        "cohort buyers repeat_buyers repurchase_rate orders mean_interval_days median_interval_days"
    )
    assert table(settings, "repurchase", columns, **EVER) == [
        tuple(map(_near, row)) for row in wanted
    ]


def _near(value: Any) -> Any:  # noqa: ANN401 - any value of a row
    # Both round to 4 places, of sums in another order.
    return pytest.approx(value, abs=1.1e-4) if isinstance(value, float) else value


def _check_intervals(settings: Settings, users: Histories) -> None:
    for row in ask(settings, "repurchase_interval", **EVER):
        nth = row["nth"]
        gaps = [(u[nth].day - u[nth - 1].day).days for u in users.values() if len(u) > nth]
        assert (row["buyers"], row["went_on"]) == (
            sum(len(every) >= nth for every in users.values()),
            len(gaps),
        )
        quarters = statistics.quantiles(gaps, n=4, method="inclusive")
        assert [row["p25_days"], row["median_days"], row["p75_days"]] == quarters
        assert row["mean_days"] == _near(statistics.fmean(gaps))


def _check_retention(settings: Settings, users: Histories) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    for every in users.values():
        first = _month(every[0].day)
        seen.update({(first, _month(order.day) - first) for order in every})
    wanted = {key: (seen[key[0], 0], count) for key, count in seen.items()}
    rows = ask(
        settings, "retention", period="month", first="order_paid", event="order_paid", **EVER
    )
    found = {
        (_month(date.fromisoformat(row["cohort"])), row["n"]): (row["cohort_size"], row["users"])
        for row in rows
    }
    assert found == wanted


def _scores(values: list[Any], bins: int = 5) -> Callable[[Any], int]:
    ordered = sorted(values)
    return lambda value: 1 + bins * bisect_left(ordered, value) // len(ordered)


def _check_rfm(settings: Settings, users: Histories) -> None:
    last = {user: max(order.day for order in every) for user, every in users.items()}
    spent = {user: sum(order.amount for order in every) for user, every in users.items()}
    end = max(last.values())
    r, f, m = (
        _scores(list(last.values())),
        _scores([len(every) for every in users.values()]),
        _scores(list(spent.values())),
    )
    cells: dict[tuple[int, int, int], list[str]] = defaultdict(list)
    for user, every in users.items():
        cells[r(last[user]), f(len(every)), m(spent[user])].append(user)
    found = {(row["r"], row["f"], row["m"]): row for row in ask(settings, "rfm", **EVER)}
    assert found.keys() == cells.keys()
    for cell, inside in cells.items():
        days = statistics.fmean((end - last[user]).days for user in inside)
        assert found[cell]["users"] == len(inside)
        assert found[cell]["recency_days"] == _near(days)
        assert found[cell]["revenue"] == pytest.approx(float(sum(spent[user] for user in inside)))
        assert found[cell]["segment"].startswith("important" if cell[2] >= 3 else "general")


def _check_value(settings: Settings, users: Histories) -> None:
    for row in ask(settings, "ltv", period="month", periods="20", **EVER):
        cohort = _month(date.fromisoformat(row["cohort"]))
        members = [every for every in users.values() if _month(every[0].day) == cohort]
        net = sum(
            o.amount for every in members for o in every if _month(o.day) <= cohort + row["n"]
        )
        assert row["users"] == len(members)
        assert row["cumulative"] == pytest.approx(float(net))
        assert row["ltv"] == _near(float(net) / len(members))
    months: dict[int, list[Order]] = defaultdict(list)
    for every in users.values():
        for order in every:
            months[_month(order.day)].append(order)
    for row in ask(settings, "order_value", period="month", **EVER):
        of_month = months.pop(_month(date.fromisoformat(row["start"])))
        assert (row["orders"], row["buyers"]) == (len(of_month), len({o.user for o in of_month}))
        assert row["median_order"] == _near(float(statistics.median(o.amount for o in of_month)))
    assert not months


def _goes(every: list[Order], steps: list[str]) -> int:
    """Return how many steps a user got through, by trying every first one."""
    moments = [
        ((o.day - START).days * DAY_MS + (1000 if o.kind == "large_bought" else 0), o.kind)
        for o in every
    ]
    moments.sort()
    best = 0
    for at, (start_ms, kind) in enumerate(moments):
        if kind != steps[0]:
            continue
        level = 1
        for moment_ms, what in moments[at + 1 :]:
            if (
                level < len(steps)
                and what == steps[level]
                and moment_ms - start_ms <= FUNNEL_DAYS * DAY_MS
            ):
                level += 1
        best = max(best, level)
    return best


def _check_funnel(settings: Settings, users: Histories) -> None:
    steps = ["small_bought", "large_bought", "small_bought"]
    levels = Counter(_goes(every, steps) for every in users.values())
    wanted = [sum(n for level, n in levels.items() if level >= step) for step in (1, 2, 3)]
    params = EVER | {"steps": ",".join(steps), "within_s": str(FUNNEL_DAYS * 86_400)}
    assert [row["users"] for row in ask(settings, "funnel", **params)] == wanted
    assert wanted[0] > wanted[1] > wanted[2] > 0


def _check_all(settings: Settings, users: Histories) -> None:
    _check_repurchase(settings, users)
    _check_intervals(settings, users)
    _check_retention(settings, users)
    _check_rfm(settings, users)
    _check_value(settings, users)
    _check_funnel(settings, users)


def test_cdnow_gives_the_numbers_of_a_second_implementation(
    cdnow: Settings, by_user: Histories
) -> None:
    _check_all(cdnow, by_user)


def _items(orders: list[Order]) -> Iterator[dict[str, Any]]:
    """Yield each order as a server that imports its history sends it, with the time of then."""
    for number, order in enumerate(orders):
        noon = datetime.combine(order.day, NOON_UTC, UTC)
        later = timedelta(seconds=1 if order.kind == "large_bought" else 0)
        paid = {"order_id": f"o{number}", "amount": float(order.amount)}
        for event, at, properties in (
            ("order_paid", noon, paid),
            (order.kind, noon + later, {"cds": order.cds}),
        ):
            yield {
                "type": "track",
                "event": event,
                "userId": order.user,
                "properties": properties,
                "messageId": f"cdnow-{number}-{event}",
                "timestamp": at.isoformat(),
            }


def _send(edge: Edge, orders: list[Order]) -> None:
    items = list(_items(orders))
    key = {"Authorization": "Basic " + b64encode(b"k-history:").decode()}
    for start in range(0, len(items), BATCH):
        body = json.dumps({"batch": items[start : start + BATCH]}).encode()
        answer = edge.post("/v1/batch", body, key | {"Content-Type": "application/json"})
        assert answer.status == 200, answer.body


@pytest.mark.slow
def test_cdnow_sent_to_the_collector_with_its_original_times_gives_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orders: list[Order], by_user: Histories
) -> None:
    monkeypatch.setenv("SIYU_HOME", str(tmp_path))
    (tmp_path / "plan.yaml").write_text("events: {}")
    (tmp_path / "rules.yaml").write_text("rules: []")
    sources = tmp_path / "history.yaml"
    sources.write_text("write_keys: {k-history: {source: server, name: history}}")
    info = stack.up()
    try:
        settings = Settings(kafka=info.kafka, clickhouse=info.clickhouse)
        ensure_topics(settings)
        migrate(settings)
        env = environment(settings.kafka, tmp_path, SIYU_CLICKHOUSE=settings.clickhouse)
        log = tmp_path / "parts.log"
        with (
            collector(settings.kafka, tmp_path, SIYU_SOURCES=str(sources)) as edge,
            process(env, log, "worker"),
            process(env, log, "land"),
        ):
            _send(edge, orders)
            client = connect(settings.clickhouse)
            counts = "SELECT (SELECT count() FROM events), (SELECT count() FROM rejects)"
            patience_s = time.monotonic() + 600
            while sum(client.execute(counts)[0]) < 2 * len(orders):
                assert time.monotonic() < patience_s, log.read_text("utf-8")[-4000:]
                time.sleep(1)
            assert client.execute(counts) == [(2 * len(orders), 0)]
            marks = client.execute("SELECT countIf(has(marks, 'late')) FROM events")
            assert marks == [(2 * len(orders),)]
            client.disconnect()
            _check_all(settings, by_user)
    finally:
        stack.down()
