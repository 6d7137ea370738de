"""`siyu bench`: each part side by side with its peers."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from schemas.errors import PartMissing
from streams.commands.printing import Json, print_json, print_table

app = typer.Typer(help="Measure; benchmarks/README.md says how to read it.", no_args_is_help=True)


@app.command("runtime")
def runtime(
    *,
    vs: Annotated[
        str, typer.Option(help="Peers, by comma; installed on demand.")
    ] = "faust,quix,bytewax,aiokafka,confluent",
    events: Annotated[int, typer.Option(min=1)] = 400_000,
    users: Annotated[int, typer.Option(min=1)] = 20_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Run one job on our runtime and on its peers, in alternating rounds."""
    with _benchmarks():
        from benchmarks.runtime import harness
        from benchmarks.runtime.engines import PEERS
    peers = [name.strip() for name in vs.split(",") if name.strip()]
    unknown = [name for name in peers if name not in PEERS]
    if unknown:
        raise typer.BadParameter(f"--vs {unknown[0]}: expected some of {', '.join(PEERS)}")
    report = harness.run(vs=peers, events=events, users=users, rounds=rounds, quiet=as_json)
    _print_bench(report, as_json=as_json)


@app.command("restore")
def restore(
    *,
    users: Annotated[int, typer.Option(min=1)] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1)] = 1,
    as_json: Json = False,
) -> None:
    """Restore the state of many users from its changelog."""
    with _benchmarks():
        from benchmarks import restore
    _print_bench(restore.run(users=users, rounds=rounds, quiet=as_json), as_json=as_json)


@app.command("collect")
def collect(
    *,
    events: Annotated[int, typer.Option(min=10_000, help="In batches of 100; a tenth singly.")] = (
        100_000
    ),
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Send batches of 1 and 100 to the edge and to a bare handler, in alternating rounds."""
    with _benchmarks():
        from benchmarks import collect as collect_bench
    _print_bench(collect_bench.run(events=events, rounds=rounds, quiet=as_json), as_json=as_json)


@app.command("land")
def land(
    *,
    events: Annotated[int, typer.Option(min=200_000)] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Land events from Kafka in ClickHouse, against row inserts and ClickHouse's Kafka engine."""
    with _benchmarks():
        from benchmarks import land as land_bench
    _print_bench(land_bench.run(events=events, rounds=rounds, quiet=as_json), as_json=as_json)


@app.command("bi")
def bi(
    *,
    events: Annotated[int, typer.Option(min=1000)] = 10_000_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Ask every question of analysts over many events, made by ClickHouse itself."""
    with _benchmarks():
        from benchmarks import bi as bi_bench
    _print_bench(bi_bench.run(events=events, rounds=rounds, quiet=as_json), as_json=as_json)


@app.command("backtest")
def backtest(
    *,
    events: Annotated[int, typer.Option(min=50_000)] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Replay history from ClickHouse through the shipped rulebook."""
    with _benchmarks():
        from benchmarks import backtest as backtest_bench
    _print_bench(backtest_bench.run(events=events, rounds=rounds, quiet=as_json), as_json=as_json)


@app.command("latency")
def latency(
    *,
    seconds: Annotated[int, typer.Option(min=3, help="Of each load.")] = 20,
    as_json: Json = False,
) -> None:
    """From an event's acceptance to its touch on the broker, at 10 and 50 % of capacity."""
    with _benchmarks():
        from benchmarks import latency as latency_bench
    _print_bench(latency_bench.run(seconds=seconds, quiet=as_json), as_json=as_json)


@app.command("engage")
def engage(
    *,
    events: Annotated[int, typer.Option(min=10_000)] = 200_000,
    users: Annotated[int, typer.Option(min=1)] = 20_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Run the full engage agent, and Quix Streams on its three-line job, in alternating rounds."""
    with _benchmarks():
        from benchmarks import engage as engage_bench
    report = engage_bench.run(events=events, users=users, rounds=rounds, quiet=as_json)
    _print_bench(report, as_json=as_json)


@app.command("rules")
def rules(
    *,
    events: Annotated[int, typer.Option(min=1000)] = 40_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Take an event through 20 rules and through 1,000 over 50 event names, in the pure core."""
    with _benchmarks():
        from benchmarks import rules as rules_bench
    _print_bench(rules_bench.run(events=events, rounds=rounds, quiet=as_json), as_json=as_json)


@app.command("lookup")
def lookup(
    *,
    users: Annotated[int, typer.Option(min=100)] = 20_000,
    requests: Annotated[int, typer.Option(min=100, help="Of each kind and round.")] = 2000,
    load: Annotated[int, typer.Option(min=0, help="Events/s while it is asked; 0: none.")] = 500,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Ask a worker for users, at rest and under load; what that keeps costs each event."""
    with _benchmarks():
        from benchmarks import lookup as lookup_bench
    report = lookup_bench.run(
        users=users, requests=requests, rounds=rounds, load=load, quiet=as_json
    )
    _print_bench(report, as_json=as_json)


@app.command("tags")
def tags(
    *,
    users: Annotated[int, typer.Option(min=100, help="About ten events each.")] = 20_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Fold events into 5, 20 and 100 tags in the pure core; measure time and state."""
    with _benchmarks():
        from benchmarks import tags as tags_bench

    def tell(step: str) -> None:
        print(step, file=sys.stderr)

    _print_bench(tags_bench.run(users=users, rounds=rounds, tell=tell), as_json=as_json)


@contextmanager
def _benchmarks() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        if not (missing.name or "").startswith("benchmarks"):
            raise
        raise PartMissing(
            "benchmarks",
            "the folder is not in what is installed here",
            remedy="run `./siyu bench` in a checkout",
        ) from missing


def _print_bench(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        rows = [
            [
                name,
                *map(
                    row.get, ("median", "unit", "cpu_s_per_100k", "peak_rss_mb", "largest_pause_ms")
                ),
            ]
            for name, row in report["results"].items()
        ]
        print_table(["", "median", "unit", "CPU s/100k", "RSS MB", "largest pause ms"], rows)
        for name, value in (report["ratios"] | report["checks"]).items():
            print(f"{name}: {value}")
    raise typer.Exit(0 if all(report["checks"].values()) else 1)
