"""`siyu bench backtest`: the shipped rulebook over a quarter of history, made by ClickHouse itself.

Reading, sorting and writing out in ClickHouse are part of the figure: all runs on this machine.
CPU seconds of the processes that fold are told beside it, since a busy machine says less by wall.
"""

import resource
import time
import uuid
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks import report
from deploy.local import stack
from deploy.progress import Progress
from schemas import clock
from schemas.settings import Settings
from sinks.clickhouse.client import connect
from sinks.clickhouse.history import History
from sinks.clickhouse.migrate import migrate, statements
from streams.commands.rules.backtest import backtest
from streams.commands.rules.compare import Span
from streams.commands.rules.fanout import fan_out
from streams.runtime.rulebooks.sources import find_book

BAR_PER_S: Final = 100_000
_EVENTS_PER_VISIT: Final = 6
_EVENTS_PER_USER: Final = 40


class _Idle:
    """Takes users and does nothing: what reading alone costs."""

    def __init__(self) -> None:
        self.totals = self

    def user(self, user: str, events: list[Any], /) -> None:
        """Take a user."""

    def merge(self, other: Any, /) -> None:  # noqa: ANN401 - the same, of another process
        """Take nothing in."""


def run(*, events: int, rounds: int, quiet: bool) -> dict[str, Any]:
    """Fill a database of its own, replay it; return the answer."""
    console = Console(stderr=True, quiet=quiet)
    info = stack.up(report=Progress(quiet=quiet))
    server, database = info.clickhouse.rpartition("/")[0], f"bench_backtest_{uuid.uuid4().hex[:8]}"
    settings = Settings(clickhouse=f"{server}/{database}")
    admin = connect(f"{server}/default")
    runs: dict[str, list[float]] = {"read": [], "backtest": []}
    cpu: dict[str, list[float]] = {"read": [], "backtest": []}
    told: dict[str, Any] = {}
    try:
        migrate(settings)
        _fill(settings, events)
        for number in range(rounds):
            console.print(f"round {number + 1}/{rounds}")
            for name, took in runs.items():
                before_s, began_s = _children_s(), time.perf_counter()
                told = _play(settings, name, quiet=quiet) or told
                took.append(told["events"] / (time.perf_counter() - began_s))
                cpu[name].append((_children_s() - before_s) / told["events"] * 100_000)
    finally:
        admin.execute(f"DROP DATABASE IF EXISTS {database} SYNC")
        admin.disconnect()
    results = {
        name: report.summary(took, "events/s", cpu_s_per_100k=report.median(cpu[name]))
        for name, took in runs.items()
    }
    fired = {rule: one["would_fire"] for rule, one in told["rules"].items()}
    results["backtest"] |= {"events": told["events"], "users": told["users"], "would_fire": fired}
    return {
        "bench": "backtest",
        "machine": report.machine(),
        "rounds": rounds,
        "results": results,
        "ratios": {"backtest/read": report.ratio(results, "backtest", "read")},
        "checks": {
            f"backtest at {BAR_PER_S:,} events/s": results["backtest"]["median"] >= BAR_PER_S,
            "every event was folded": not told["unfoldable"],
        },
    }


def _play(settings: Settings, name: str, *, quiet: bool) -> dict[str, Any]:
    span = Span(0, clock.now_ms())
    if name == "backtest":
        return backtest(settings, find_book(settings, None), span, quiet=quiet)
    extent = History(settings.clickhouse, span.until_ms).extent()
    fan_out(settings.clickhouse, span.until_ms, extent, _Idle)
    return {"events": extent.events}


def _fill(settings: Settings, events: int) -> None:
    visits = events // _EVENTS_PER_VISIT
    values = {
        "first": 0,
        "count": visits,
        "visits": visits,
        "users": max(events // _EVENTS_PER_USER, 1),
    }
    client = connect(settings.clickhouse, settings={"server_side_params": True})
    for statement in statements((Path(__file__).parent / "bi_events.sql").read_text("utf-8")):
        client.execute(statement, values, settings={"max_threads": 2, "max_insert_threads": 1})
    client.disconnect()


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
