"""`siyu bench bi`: each question of analysts over ten million events, with its defaults.

Every parameter is at its default, so each question is asked about the whole history. What a
server needs no user for is kept out: the events are made by ClickHouse itself, landed through the
materialized views in blocks as the lander's are, and merged before the first question.
"""

import time
import uuid
from pathlib import Path
from typing import Any, Final

from clickhouse_driver import Client
from rich.console import Console

from benchmarks import report
from deploy.local import stack
from deploy.progress import Progress
from schemas.settings import Settings
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import migrate, statements
from sinks.clickhouse.query import describe, names, run_query

BAR_S: Final = 1.0
THREADS: Final = 2
_FOLDER: Final = Path(__file__).parent
_STEPS: Final = 20
_EVENTS_PER_VISIT: Final = 6
_EVENTS_PER_USER: Final = 14
_MERGED_WITHIN_S: Final = 300.0
_CPU_EVENTS: Final = "('UserTimeMicroseconds', 'SystemTimeMicroseconds')"


def run(*, events: int, rounds: int, quiet: bool) -> dict[str, Any]:
    """Fill a database of its own, ask every question; return the answer."""
    console = Console(stderr=True, quiet=quiet)
    info = stack.up(report=Progress(quiet=quiet))
    server = info.clickhouse.rpartition("/")[0]
    database = f"bench_bi_{uuid.uuid4().hex[:8]}"
    settings = Settings(clickhouse=f"{server}/{database}")
    admin = connect(f"{server}/default")
    try:
        migrate(settings)
        told = _fill(settings, events, console)
        runs = {name: _ask(settings, admin, name, rounds, console) for name in names()}
    finally:
        admin.execute(f"DROP DATABASE IF EXISTS {database} SYNC")
        admin.disconnect()
    return _answer(runs, rounds, told)


def _fill(settings: Settings, events: int, console: Console) -> dict[str, int]:
    visits, users = events // _EVENTS_PER_VISIT, max(events // _EVENTS_PER_USER, 1)
    client = connect(settings.clickhouse, settings={"server_side_params": True})
    step = -(-visits // _STEPS)
    for first in range(0, visits, step):
        console.print(f"filling: visit {first} of {visits}")
        count = min(step, visits - first)
        values = {"first": first, "count": count, "visits": visits, "users": users}
        for statement in _statements("bi_events.sql"):
            # Blocks as the lander's: 50 000 rows.
            client.execute(
                statement,
                values,
                settings={
                    "max_threads": THREADS,
                    "max_insert_threads": 1,
                    "max_block_size": 8_000,
                    "min_insert_block_size_rows": 50_000,
                    "insert_deduplicate": 0,
                },
            )
    for statement in _statements("bi_decisions.sql"):
        client.execute(statement, settings={"max_threads": THREADS})
    _wait_for_merges(client)
    rows, people, decided = client.execute(
        "SELECT count(), uniqExact(user_key), (SELECT count() FROM decisions) FROM events"
    )[0]
    client.disconnect()
    return {"events": rows, "users": people, "decisions": decided}


def _statements(name: str) -> list[str]:
    return list(statements((_FOLDER / name).read_text("utf-8")))


def _wait_for_merges(client: Client) -> None:
    deadline_s = time.monotonic() + _MERGED_WITHIN_S
    while time.monotonic() < deadline_s:
        if client.execute("SELECT count() FROM system.merges")[0][0] == 0:
            return
        time.sleep(1)


def _ask(
    settings: Settings, admin: Client, name: str, rounds: int, console: Console
) -> dict[str, Any]:
    params = {param.name: param.default for param in describe(name).params}
    run_query(settings, name, params)  # warm: the files are in the page cache
    wall_s, cpu_s, rows = [], [], 0
    for _ in range(rounds):
        before_s, began_s = _cpu_s(admin), time.perf_counter()
        rows = len(run_query(settings, name, params)["rows"])
        wall_s.append(time.perf_counter() - began_s)
        cpu_s.append(_cpu_s(admin) - before_s)
    console.print(f"{name}: {min(wall_s):.2f} s")
    return {"wall_s": wall_s, "cpu_s": cpu_s, "rows": rows}


def _cpu_s(admin: Client) -> float:
    query = f"SELECT sum(value) FROM system.events WHERE event IN {_CPU_EVENTS}"  # noqa: S608 - a constant
    return float(admin.execute(query)[0][0]) / 1e6


def _answer(runs: dict[str, dict[str, Any]], rounds: int, told: dict[str, int]) -> dict[str, Any]:
    results = {
        name: report.summary(
            found["wall_s"],
            "s",
            best=round(min(found["wall_s"]), 3),
            cpu_s=report.median(found["cpu_s"]),
            rows=found["rows"],
        )
        for name, found in runs.items()
    }
    return {
        "bench": "bi",
        "machine": report.machine(),
        "rounds": rounds,
        "data": told,
        "results": results,
        "ratios": {},
        # The best of the runs: the others tell of the machine's other work.
        "checks": {name: row["best"] < BAR_S for name, row in results.items()},
    }
