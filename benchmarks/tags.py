"""`siyu bench tags`: what an event costs in the pure core, and how large a user's state is.

One process, one core, no broker. Each book of tags is fed with the same shop's traffic, once
on states that stay decoded (fold) and once with every event unpacking and packing its user's
state (packed): the worst case, in which no batch has a user twice.
"""

import gc
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from time import process_time
from typing import Any, Final
from uuid import UUID

import msgspec
import yaml

from benchmarks import report
from schemas.events import Event, decode_event, encode_event
from streams.authoring.load import load_rulebook
from streams.core.engine import Engine
from streams.core.state.cells import number_of
from streams.core.state.user import State
from streams.core.tags.provenance import moved

BOOK: Final = Path(__file__).with_name("tags.yaml")
FEW: Final = ("views", "view_24h", "last_sku", "gmv", "lifecycle")
MAX_EVENT_US: Final = 15.0
MAX_MEDIAN_BYTES: Final = 500
MAX_P99_BYTES: Final = 1000
# Cost of one more tag, and of 80 that the event does not touch: 1 is perfectly linear.
MAX_BEND: Final = 1.25
DAYS: Final = 60
# Events that are decoded at once, just before they are folded: as a worker has them, in cache.
BATCH: Final = 50
# Pareto: the shape of events per user, their least number and most; about 10 in the mean.
SHAPE: Final = 1.2
LEAST: Final = 2.4
MOST: Final = 1000
IDLE: Final = (
    "search_performed",
    "content_shared",
    "coupon_used",
    "message_received",
    "page_viewed",
    "order_refunded",
    "cart_removed",
    "product_favorited",
)
_MIX: Final = {
    "product_viewed": 60,
    "page_viewed": 12,
    "cart_added": 9,
    "order_paid": 5,
    "search_performed": 5,
    "message_received": 3,
    "content_shared": 2,
    "coupon_used": 2,
    "product_favorited": 1,
    "cart_removed": 1,
}
_CHANNELS: Final = ("campaign:douyin", "qr:store_12", "share", "search", "official_account")
_DAY_MS: Final = 86_400_000
_T0_MS: Final = 1_780_000_000_000
_SKUS: Final = 5000
_CATEGORIES: Final = 24
_POPULAR: Final = list(accumulate(1 / (1 + rank) ** 0.9 for rank in range(_SKUS)))


def run(*, users: int, rounds: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench; return the report."""
    tell("making traffic")
    events = traffic(users)
    engines = {size: engine(book) for size, book in books().items()}
    views = [event for event in events if b'"event":"product_viewed"' in event]
    views = views[: len(views) // BATCH * BATCH]
    moved = {size: engine(book) for size, book in moved_books().items()}
    runs: dict[str, list[float]] = defaultdict(list)
    more: dict[str, dict[str, Any]] = {}
    for number in range(1, rounds + 1):
        for size, one in engines.items():
            tell(f"round {number}/{rounds}: {size} tags")
            took, changes = fold(one, events)
            runs[f"fold {size}"].append(took)
            more[f"fold {size}"] = more[f"packed {size}"] = {"changes_per_event": changes}
            took, states = pack_each(one, events)
            runs[f"packed {size}"].append(took)
            if number == 1:
                more[f"state {size}"] = sizes(one, size, states)
                more[f"state {size} with origins"] = spread(with_origins(one, events))
            if size != min(engines):
                runs[f"view {size}"].append(again(one, states, views))
        for size, one in moved.items():
            tell(f"round {number}/{rounds}: {size} tags of one event")
            few = views[: max(2, 5 * len(views) // BATCH // size) * BATCH]
            runs[f"moved {size}"].append(pack_each(one, few)[0])
    return _report(dict(runs), more, users, len(events), rounds)


def traffic(users: int) -> list[bytes]:
    """Return packed events of a shop over 60 days, by time: few users make most of them."""
    rng = random.Random(1)
    made: list[Event] = []
    for user in range(users):
        wanted = min(MOST, int(LEAST * rng.paretovariate(SHAPE)))
        channel = rng.choice(_CHANNELS)
        while wanted > 0:
            size = min(wanted, 1 + int(rng.expovariate(0.2)))
            wanted -= size
            at_ms = _T0_MS + rng.randrange(DAYS * _DAY_MS)
            for i in range(size):
                name = rng.choices(list(_MIX), list(_MIX.values()))[0] if i else "app_started"
                at_ms += rng.randrange(2_000, 90_000)
                made.append(_event(rng, f"u{user}", name, at_ms, channel))
    made.sort(key=lambda event: event.timestamp_ms)
    # Whole batches only.
    return [encode_event(event) for event in made[: len(made) // BATCH * BATCH]]


def _event(rng: random.Random, user: str, name: str, at_ms: int, channel: str) -> Event:
    sku = rng.choices(range(_SKUS), cum_weights=_POPULAR)[0]
    properties = {
        "sku": f"sku{sku}",
        "category": f"category{sku % _CATEGORIES}",
        "cart_id": f"c{at_ms}",
        "amount": round(rng.lognormvariate(5, 0.8), 2),
        "coupon_id": "spring",
        "query": "shoes",
    }
    return Event(
        message_id=f"{rng.getrandbits(64):016x}",
        type="track",
        event=name,
        user=f"user_id:{user}",
        source="app",
        door="native",
        account="shop",
        timestamp_ms=at_ms,
        received_at_ms=at_ms + 200,
        identities={"user_id": user, "device_id": f"{user}-9f86d081884c7d65"},
        context={"channel": channel},
        properties=properties,
    )


def books() -> dict[int, list[dict[str, Any]]]:
    """Return 5, 20 and 100 tags: the book's, and ten more on each of eight other events."""
    book: list[dict[str, Any]] = yaml.safe_load(BOOK.read_text("utf-8"))["tags"]
    kinds = [tag for tag in book if tag["kind"] not in ("expr", "channel", "stage")]
    more = [
        {**kinds[i % len(kinds)], "id": f"more_{i}", "event": IDLE[i % len(IDLE)], "weights": {}}
        for i in range(80)
    ]
    for tag in more:
        if tag["kind"] not in ("topk", "decay"):
            del tag["weights"]
    return {5: [tag for tag in book if tag["id"] in FEW], 20: book, 100: book + more}


def moved_books() -> dict[int, list[dict[str, Any]]]:
    """Return 5, 20 and 100 tags that all move with one event: five plain kinds in turn."""
    value = {"event": "product_viewed", "value": "properties.amount"}
    plain = [
        {"kind": "count", "event": "product_viewed", "window": "24h"},
        {"kind": "sum", **value},
        {"kind": "last", "event": "product_viewed", "value": "properties.sku"},
        {"kind": "distinct", "event": "product_viewed", "value": "properties.sku"},
        {"kind": "max", **value, "window": "30d"},
    ]
    return {
        size: [{"id": f"t{i}", **plain[i % len(plain)]} for i in range(size)]
        for size in (5, 20, 100)
    }


def engine(tags: list[dict[str, Any]]) -> Engine:
    """Return the engine of a book of tags."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "book.yaml"
        own = {name: ["sku", "category", "amount"] for name in (*IDLE, "product_viewed")}
        path.write_text(yaml.safe_dump({"tags": tags, "declares": own}), "utf-8")
        return Engine(load_rulebook(path))


def fold(running: Engine, events: Sequence[bytes]) -> tuple[float, float]:
    """Return us an event on states that stay decoded, and changes an event."""
    states: dict[str, State] = {}
    changes, on_event, clock = 0, running.on_event, _Clock()
    for batch in _batches(events):
        for event in batch:
            if event.user not in states:
                states[event.user] = running.load(None)
        with clock:
            for event in batch:
                changes += len(on_event(states[event.user], event).tag_changes)
    return clock.us(), report.median([changes / len(events)])


def pack_each(running: Engine, events: Sequence[bytes]) -> tuple[float, dict[str, bytes]]:
    """Return us an event that unpacks and packs its state, and the packed states."""
    states: dict[str, bytes] = {}
    load, dump, on_event, clock = running.load, running.dump, running.on_event, _Clock()
    for batch in _batches(events):
        with clock:
            for event in batch:
                state = load(states.get(event.user))
                on_event(state, event)
                states[event.user] = dump(state)
    return clock.us(), states


def with_origins(running: Engine, events: Sequence[bytes]) -> list[int]:
    """Return the sizes of states as a worker keeps them by default: since when, by which event.

    Message ids are UUIDs, the longest that SDKs send; the setting ``worker_origins`` saves them.
    """
    rng, states = random.Random(2), dict[str, State]()
    for batch in _batches(events):
        for event in batch:
            event.message_id = str(UUID(int=rng.getrandbits(128)))
            state = states.setdefault(event.user, running.load(None))
            changes = running.on_event(state, event).tag_changes
            if changes:
                state.provenance = moved(state.provenance, changes)
    return [len(running.dump(state)) for state in states.values()]


def again(running: Engine, states: dict[str, bytes], events: Sequence[bytes]) -> float:
    """Return us an event of users that have all their tags, and one event more."""
    late_ms = _T0_MS + (DAYS + 1) * _DAY_MS
    load, dump, on_event, clock = running.load, running.dump, running.on_event, _Clock()
    for batch in _batches(events):
        pairs = []
        for event in batch:
            state = load(states[event.user])
            # What is due is done before, so that the event alone is measured.
            running.on_timers(state, event.user, late_ms)
            event.timestamp_ms = event.received_at_ms = late_ms
            pairs.append((dump(state), event))
        with clock:
            for packed, event in pairs:
                state = load(packed)
                on_event(state, event)
                dump(state)
    return clock.us()


def _batches(events: Sequence[bytes]) -> Iterator[list[Event]]:
    """Yield events in batches, decoded just before they are needed, as a worker does."""
    for at in range(0, len(events), BATCH):
        yield [decode_event(packed) for packed in events[at : at + BATCH]]


class _Clock:
    """CPU time of batches, without the garbage collector: the worker freezes it, too."""

    def __init__(self) -> None:
        self._us: list[float] = []
        self._start = 0.0

    def __enter__(self) -> None:
        gc.disable()
        self._start = process_time()

    def __exit__(self, *_: object) -> None:
        self._us.append((process_time() - self._start) / BATCH * 1e6)
        gc.enable()

    def us(self) -> float:
        """Return the mean of the batches, but for a tenth at either end: others' load."""
        order = sorted(self._us)
        cut = len(order) // 10
        return fmean(order[cut : len(order) - cut])


def sizes(running: Engine, size: int, states: dict[str, bytes]) -> dict[str, Any]:
    """Return the sizes of packed states, and what a cell of each kind takes in the mean."""
    kinds = {number_of(one["id"]): one["kind"] for one in books()[size]}
    held, count = Counter[str](), Counter[str]()
    for packed in states.values():
        for number, cell in running.load(packed).tags.items():
            held[kinds[number]] += len(msgspec.msgpack.encode(cell))
            count[kinds[number]] += 1
    by_kind = {kind: round(held[kind] / count[kind], 1) for kind in sorted(held)}
    return spread(map(len, states.values())) | {"mean_bytes_by_kind": by_kind}


def spread(found: Iterable[int]) -> dict[str, Any]:
    """Return median, 99th percentile and maximum of sizes."""
    order = sorted(found)
    return {
        "median": order[len(order) // 2],
        "unit": "bytes",
        "runs": [order[len(order) // 2]],
        "p99": order[len(order) * 99 // 100],
        "max": order[-1],
    }


def _report(
    runs: dict[str, list[float]],
    more: dict[str, dict[str, Any]],
    users: int,
    events: int,
    rounds: int,
) -> dict[str, Any]:
    results = {
        name: report.summary(took, "us/event", **more.get(name, {})) for name, took in runs.items()
    }
    results |= {name: row for name, row in more.items() if name.startswith("state ")}
    cost = {name: row["median"] for name, row in results.items()}
    early = (cost["moved 20"] - cost["moved 5"]) / 15
    late = (cost["moved 100"] - cost["moved 20"]) / 80
    ratios = {
        "packed 20/fold 20": report.ratio(results, "packed 20", "fold 20"),
        "one more tag of 100/of 20": report.median([late / early]),
        "view 100/view 20": report.ratio(results, "view 100", "view 20"),
    }
    state = results["state 20"]
    return {
        "bench": "tags",
        "machine": report.machine(),
        "rounds": rounds,
        "users": users,
        "events": events,
        "results": results,
        "ratios": ratios,
        "checks": {
            "per_event_20_tags_us<=15": cost["packed 20"] <= MAX_EVENT_US,
            "median<=500": state["median"] <= MAX_MEDIAN_BYTES,
            "p99<=1000": state["p99"] <= MAX_P99_BYTES,
            "linear": ratios["one more tag of 100/of 20"] <= MAX_BEND
            and ratios["view 100/view 20"] <= MAX_BEND,
        },
    }
