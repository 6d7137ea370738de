"""Load a shop of many users and audit every tag of a sample against SQL.

    SIYU_HOME=/tmp/bench siyu up && SIYU_HOME=/tmp/bench python -m benchmarks.tag_audit --json

Needs a stack with nothing in it (`siyu down --wipe`). See ``benchmarks.tag_load`` for what is
skipped: the events do not pass through the edge and the log.
"""

import argparse
import asyncio
import json
import time
from typing import Any

from benchmarks.report import machine
from benchmarks.tag_load import Job, load
from schemas.settings import Settings
from sinks.clickhouse.history import ask
from streams.authoring.load import load_rulebook
from streams.commands.tags.audit import audit_tags


def main() -> None:
    """Load, audit, print the figures; exit status 1 if a tag drifts or a state is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--mean", type=float, default=10.0, help="events of a user, in the mean")
    parser.add_argument("--sample", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    chosen = parser.parse_args()
    settings = Settings()
    if ask(settings.clickhouse, "SELECT count() FROM events") != [(0,)]:
        raise SystemExit("the stack holds events already: `siyu down --wipe`, `siyu up`")
    began_s = time.monotonic()
    job = Job(settings, settings.rulebook, chosen.users, chosen.mean, settings.partitions)
    loaded = load(job, chosen.processes)
    load_s = time.monotonic() - began_s
    report = asyncio.run(
        audit_tags(
            settings,
            load_rulebook(settings.rulebook),
            users=chosen.sample,
            seed=0,
            at_ms=None,
            progress=lambda _done: None,
        )
    )
    found = told(report, loaded, load_s)
    print(json.dumps(found) if chosen.json else json.dumps(found, indent=1))
    raise SystemExit(0 if all(found["checks"].values()) else 1)


def told(report: dict[str, Any], loaded: dict[str, int], load_s: float) -> dict[str, Any]:
    """Return a bench's JSON of an audit."""
    figures = report["figures"]
    sizes = figures["state_bytes"]
    results = {
        "audit": {"median": figures["seconds"], "unit": "s", "runs": [figures["seconds"]]},
        "load": {"median": round(load_s, 1), "unit": "s", "runs": [round(load_s, 1)]},
        "state": {"median": sizes["median"], "unit": "bytes", "p99": sizes["p99"]},
    }
    return {
        "bench": "tag_audit",
        "machine": machine(),
        "rounds": 1,
        "results": results,
        "ratios": {},
        "checks": {
            "no tag drifts": report["ok"],
            "median state <= 500 bytes": sizes["median"] <= 500,  # noqa: PLR2004 - the bar
            "p99 state <= 1000 bytes": sizes["p99"] <= 1000,  # noqa: PLR2004 - the bar
        },
        "loaded": loaded,
        "figures": figures,
        "findings": report["findings"],
    }


if __name__ == "__main__":
    main()
