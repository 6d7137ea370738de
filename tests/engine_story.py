"""What the engine's tests share: rulebooks from text, events at minutes of one day."""

import tempfile
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any, Final

from schemas.events import Event
from schemas.touches import Decision
from streams.authoring.load import load_rulebook
from streams.core.engine import Engine
from streams.core.rulebook import Rulebook
from streams.core.rules.evaluation import Effects
from streams.core.state.user import State

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
T0_MS: Final = 1_772_416_800_000  # 2026-03-02 10:00 in Shanghai
USER: Final = "user_id:u1"
# The steps of a rule of which only its trigger matters.
SEND: Final = "steps: [{send: {via: [log], template: t}}]"
_ids = count()


def book(text: str) -> Rulebook:
    """Return the rulebook of one file with this text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "book.yaml"
        path.write_text(text, "utf-8")
        return load_rulebook(path)


def engine(text: str, *, settle_ms: int = 3000) -> Engine:
    """Return an engine of a rulebook's text."""
    return Engine(book(text), settle_ms=settle_ms)


def event(
    name: str,
    at_min: float,
    *,
    received_min: float | None = None,
    mid: str = "",
    **properties: Any,  # noqa: ANN401 - properties are JSON
) -> Event:
    """Return an event of the user at minutes after T0, received at once if not said."""
    at_ms = T0_MS + round(at_min * MINUTE_MS)
    received_ms = at_ms if received_min is None else T0_MS + round(received_min * MINUTE_MS)
    return Event(
        message_id=mid or f"m{next(_ids)}",
        type="track",
        event=name,
        user=USER,
        source="app",
        door="native",
        account="test",
        timestamp_ms=at_ms,
        received_at_ms=received_ms,
        properties=properties,
    )


def feed(running: Engine, state: State, events: Iterable[Event]) -> Effects:
    """Fold events in; return all that followed."""
    total = Effects()
    for one in events:
        add(total, running.on_event(state, one))
    return total


def add(total: Effects, more: Effects) -> Effects:
    """Add effects to those before."""
    total.tag_changes += more.tag_changes
    total.decisions += more.decisions
    total.touches += more.touches
    return total


def run_on(running: Engine, state: State, to_min: float) -> Effects:
    """Run all timers, each at its time, up to a minute."""
    total = Effects()
    while (at_ms := running.next_timer_ms(state)) is not None and at_ms <= minutes(to_min):
        add(total, running.on_timers(state, USER, at_ms))
    return total


def told(decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    """Return outcomes with their reasons."""
    return [(one.outcome, one.reason) for one in decisions]


def read_in_each_order(
    running: Engine, orders: Iterable[Iterable[Event]], later_min: int
) -> list[dict[str, object]]:
    """Return all tags after each order of a story, so many minutes after its end."""
    reads = []
    for story in orders:
        state = running.load(None)
        feed(running, state, story)
        reads.append(running.read_tags(state, state.latest_ms + later_min * MINUTE_MS))
    return reads


def minutes(at_min: float) -> int:
    """Return the epoch ms of minutes after T0."""
    return T0_MS + round(at_min * MINUTE_MS)
