"""Commands of the embedded stack: `siyu up | down | status | logs`."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deploy.local.process import Process, processes
from deploy.progress import Progress
from schemas.settings import home

app = typer.Typer(help="The embedded stack.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
def up(*, as_json: Json = False) -> None:
    """Start broker and ClickHouse, or reuse them; print where they are."""
    from deploy.local import stack

    started_s = time.monotonic()
    info = stack.up(report=Progress())
    if as_json:
        seconds = round(time.monotonic() - started_s, 2)
        print(json.dumps({**info.as_dict(), "seconds": seconds}))
        return
    print(f"broker      {info.broker.name} {info.broker.version} at {info.kafka}")
    engine = info.clickhouse_engine
    print(f"ClickHouse  {engine.name} {engine.version} at {info.clickhouse}")
    print(f"data        {home()}")


@app.command()
def down(
    *,
    wipe: Annotated[bool, typer.Option("--wipe", help="Also drop all data and logs.")] = False,
    as_json: Json = False,
) -> None:
    """Stop every process of this home, engines last."""
    from deploy.local import stack

    stopped = stack.down(wipe=wipe)
    if as_json:
        print(json.dumps({"stopped": stopped, "wiped": wipe}))
    else:
        print("stopped: " + (", ".join(stopped) or "nothing ran"))


@app.command()
def status(*, as_json: Json = False) -> None:
    """Tell what runs; exits 3 when broker or ClickHouse is down."""
    from deploy.local import stack

    state = stack.status()
    if as_json:
        print(json.dumps(asdict(state)))
    else:
        for process in state.processes:
            print(f"{process.name:<12}" + (f"pid {process.pid}" if process.pid else "down"))
        print("stack       " + ("up" if state.up else f"down: {state.problem}"))
    if not state.up:
        raise typer.Exit(3)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="As `siyu status` lists it.")],
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0)] = 40,
) -> None:
    """Print the end of a process's log."""
    process = Process(name, home())
    if not process.log_path.exists():
        known = ", ".join(p.name for p in processes(home())) or "none; run `siyu up`"
        print(f"no log of {name!r} here; there is: {known}", file=sys.stderr)
        raise typer.Exit(2)
    print(process.tail(lines), flush=True)
    if follow:
        _follow(process.log_path)


def _follow(path: Path) -> None:
    with path.open(encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        while True:
            text = file.read()
            if text:
                print(text, end="", flush=True)
            else:
                time.sleep(0.2)
