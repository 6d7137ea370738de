"""Folds a shop's traffic; prints whether the core is compiled, and a hash of all that it said."""

import hashlib
import json

from benchmarks import rules, tags
from schemas.events import Event, decode_event
from schemas.settings import ROOT
from schemas.touches import encode
from streams.authoring.load import load_rulebook
from streams.core import COMPILED
from streams.core.engine import Engine
from streams.core.rules.evaluation import Effects
from streams.core.state.user import State

END_MS = 40 * 86_400_000


def said(effects: Effects) -> bytes:
    return encode([effects.tag_changes, effects.decisions, effects.touches])


def fold(engine: Engine, events: list[Event]) -> str:
    digest, states = hashlib.blake2b(), dict[str, State]()
    for event in events:
        state = states.setdefault(event.user, engine.load(None))
        due_ms = engine.next_timer_ms(state)
        if due_ms is not None and due_ms <= event.received_at_ms:
            digest.update(said(engine.on_timers(state, event.user, event.received_at_ms)))
        digest.update(said(engine.on_event(state, event)))
        state = states[event.user] = engine.load(engine.dump(state))
    for user, state in states.items():
        digest.update(said(engine.on_timers(state, user, events[-1].received_at_ms + END_MS)))
        digest.update(engine.dump(state))
    return digest.hexdigest()


if __name__ == "__main__":
    shop = [decode_event(packed) for packed in tags.traffic(150)]
    folds = {
        "shipped": fold(Engine(load_rulebook(ROOT / "deploy/rulebook")), shop),
        "tags": fold(tags.engine(tags.books()[100]), shop),
        "rules": fold(rules.engine(20, 1), rules.traffic(4000, 1)),
    }
    print(json.dumps({"compiled": COMPILED, "folds": folds}))  # noqa: T201 - its answer
