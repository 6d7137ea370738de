"""`siyu bench rules`: what an event costs in the pure core, by the number of rules.

One process, one core, no broker; CPU time, so that a busy machine tells the same. Each book
has the same mix of rules for each event name; states stay decoded, timers run as in a worker.
"""

import gc
import random
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from time import process_time
from typing import Any, Final

from benchmarks import report
from schemas.events import Event
from streams.authoring.load import load_rulebook
from streams.core.engine import Engine
from streams.core.state.user import State

MAX_EVENT_US: Final = 15.0
MAX_GROWTH: Final = 2.0
# Rules, and the event names that they are spread over: an event is heard by 20 either way.
BOOKS: Final = {"0 rules": (0, 1), "20 rules": (20, 1), "1000 rules": (1000, 50)}
USERS: Final = 2000
# Ten in the morning in Shanghai.
_T0_MS: Final = 1_780_020_000_000
_STEP_MS: Final = 200
_HEAD: Final = """
policies:
  caps: {m: [{max: 3, per: local_day}, {max: 10, per: 7d}]}
  quiet: {night: {from: "22:00", to: "08:00"}}
tags:
- {id: day, kind: count, event: "*", window: 24h}
- {id: spent, kind: sum, event: "*", value: properties.amount}
"""
_SEND: Final = "steps: [{send: {via: [log], template: t}}]"
_GUARD: Final = "reentry: {cooldown: 24h}, guard: {cap: m, holdout: 10, quiet: {use: night}}"
# Of 20 rules: what they hear, and how often it comes to a decision.
_MIX: Final = (
    *(
        f"trigger: {{event: NAME, where: {{properties.amount: {{gte: {990 + i}}}}}}}"
        for i in range(8)
    ),
    *(
        "trigger: {event: NAME, where: {properties.category: c1, properties.amount: {lt: 100}}}, "
        f"audience: {{tag.views_NAME: {{gte: {100 + i}}}}}"
        for i in range(4)
    ),
    "trigger: {count: {event: NAME, n: 3, within: 1h, by: properties.sku}}",
    "trigger: {count: {event: NAME, n: 20, within: 1d}}",
    (
        "trigger: {absence: {after: {event: NAME, where: {properties.amount: {gte: 950}}}, "
        "none: {event: NAME, where: {properties.amount: {lt: 50}}, join: [properties.sku]}, "
        "within: 30m}}"
    ),
    (
        "trigger: {sequence: {within: 1h, join: [properties.sku], steps: [{event: NAME, where: "
        "{properties.amount: {gte: 980}}}, {event: NAME, where: {properties.amount: {lt: 5}}}]}}"
    ),
    "trigger: {tag: {id: views_NAME, enters: {gte: 50}}}",
    "trigger: {event: NAME, where: {properties.amount: {gte: 990}}}, exclusive: g, priority: 9",
    "trigger: {event: NAME, where: {properties.amount: {gte: 990}}}, exclusive: g",
    (
        "trigger: {event: NAME, where: {properties.amount: {gte: 970}}}, "
        "goal: {event: NAME, where: {properties.amount: {lt: 9}}, within: 1d}"
    ),
)


def run(*, events: int, rounds: int, quiet: bool) -> dict[str, Any]:
    """Run the bench; return the report."""
    engines = {name: engine(*book) for name, book in BOOKS.items()}
    runs: dict[str, list[float]] = defaultdict(list)
    more: dict[str, dict[str, Any]] = {}
    for number in range(1, rounds + 1):
        for name, running in engines.items():
            if not quiet:
                print(f"round {number}/{rounds}: {name}", file=sys.stderr)
            took, decided = _feed(running, traffic(events, BOOKS[name][1]))
            runs[name].append(took)
            more[name] = {"decisions_per_event": round(decided / events, 4)}
    results = {name: report.summary(took, "us/event", **more[name]) for name, took in runs.items()}
    few, growth = "20 rules", report.ratio(results, "1000 rules", "20 rules")
    return {
        "bench": "rules",
        "machine": report.machine(),
        "rounds": rounds,
        "results": results,
        "ratios": {"1000 rules/20 rules": growth},
        "checks": {
            f"20_rules_within_{MAX_EVENT_US:g}_us": results[few]["median"] <= MAX_EVENT_US,
            f"1000_rules_within_{MAX_GROWTH:g}_times_of_20": growth <= MAX_GROWTH,
        },
    }


def engine(rules: int, names: int) -> Engine:
    """Return the engine of so many rules, spread over event names."""
    lines = [
        f"- {{id: r{i}, {_MIX[i // names % len(_MIX)].replace('NAME', f'e{i % names}')}, "
        f"{_GUARD}, {_SEND}}}"
        for i in range(rules)
    ]
    tags = [f"- {{id: views_e{i}, kind: count, event: e{i}}}" for i in range(names)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "book.yaml"
        book = [_HEAD, *tags, *(["rules:", *lines] if lines else [])]
        path.write_text("\n".join(book), "utf-8")
        return Engine(load_rulebook(path))


def traffic(events: int, names: int) -> list[Event]:
    """Return events of these names, in the order of their times."""
    rng = random.Random(7)
    return [
        Event(
            message_id=f"m{i}",
            type="track",
            event=f"e{rng.randrange(names)}",
            user=f"user_id:{rng.randrange(USERS)}",
            source="app",
            door="native",
            account="bench",
            timestamp_ms=_T0_MS + i * _STEP_MS,
            received_at_ms=_T0_MS + i * _STEP_MS + 50,
            properties={
                "sku": f"s{rng.randrange(500)}",
                "amount": rng.randrange(1000),
                "category": f"c{rng.randrange(9)}",
            },
        )
        for i in range(events)
    ]


def _feed(engine: Engine, events: list[Event]) -> tuple[float, int]:
    """Return the microseconds of an event and the decisions of all."""
    states: dict[str, State] = {}
    decided = 0
    # As timeit does: what the garbage collector takes goes by all that is alive, not by the rules.
    gc.collect()
    gc.disable()
    start_s = process_time()
    for event in events:
        state = states.get(event.user)
        if state is None:
            state = states[event.user] = engine.load(None)
        due_ms = engine.next_timer_ms(state)
        if due_ms is not None and due_ms <= event.received_at_ms:
            decided += len(engine.on_timers(state, event.user, event.received_at_ms).decisions)
        decided += len(engine.on_event(state, event).decisions)
    took_s = process_time() - start_s
    gc.enable()
    return took_s / len(events) * 1e6, decided
