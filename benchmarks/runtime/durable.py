"""What each engine has made durable: the state that a restart would find, read from outside."""

import json
import pickle
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from benchmarks.broker import Broker
from benchmarks.runtime import job
from benchmarks.runtime.meter import Run
from streams.runtime.state.shard import HEADER_BYTES

Counts = dict[str, int]


def of_siyu(broker: Broker, run: Run) -> Counts:
    """Read the compacted state topic."""
    latest = _latest(broker, run.state)
    return {key.decode(): job.unpack(value[HEADER_BYTES:]).events for key, value in latest.items()}


def of_faust(broker: Broker, run: Run) -> Counts:
    """Read the changelog of the table."""
    latest = _latest(broker, f"{run.group}-users-changelog")
    return {json.loads(key): int(json.loads(value)[0]) for key, value in latest.items()}


def of_quix(broker: Broker, run: Run) -> Counts:
    """Read the changelog of the default store; a key is ``message key|state key``."""
    latest = _latest(broker, f"changelog__{run.group}--{run.source}--default")
    return {
        key.partition(b"|")[0].decode(): int(json.loads(value)[0]) for key, value in latest.items()
    }


def of_bytewax(_: Broker, run: Run) -> Counts:
    """Read the last snapshot of each key in the recovery store."""
    counts: Counts = {}
    for file in Path(run.folder).rglob("*.sqlite3"):
        with sqlite3.connect(file) as store:
            rows: Iterable[tuple[str, bytes | None]] = store.execute(
                "SELECT state_key, ser_change FROM snaps WHERE step_id LIKE '%fold%' "
                "ORDER BY snap_epoch"
            )
            for key, change in rows:
                if change is not None:
                    # The engine that we started wrote it.
                    counts[key] = int(pickle.loads(change)[0])  # noqa: S301 - as said above
    return counts


def _latest(broker: Broker, topic: str) -> dict[bytes, bytes]:
    return {key: value for key, value in broker.read(topic) if value is not None}


COUNTS_OF: Final[dict[str, Callable[[Broker, Run], Counts]]] = {
    "siyu": of_siyu,
    "faust": of_faust,
    "quix": of_quix,
    "bytewax": of_bytewax,
}
