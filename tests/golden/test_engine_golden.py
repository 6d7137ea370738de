import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.touches import encode
from streams.authoring.load import load_rulebook
from streams.core.engine import Engine
from streams.core.state.cells import StateUnreadable
from tests.engine_story import DAY_MS, USER, add, event, feed, minutes

HERE = Path(__file__).parent / "engine"
# Packed by the first release with this layout: later ones must read it.
STATE = HERE / "state_v2.msgpack"
# From before the first installation: refused, with a way out.
OLDEST = HERE / "state_v1.msgpack"
EFFECTS = HERE / "effects.json"

STORY: list[tuple[str, float, dict[str, Any]]] = [
    ("product_viewed", 0, {"sku": "a", "category": "home"}),
    ("product_viewed", 1, {"sku": "a", "category": "home"}),
    ("cart_added", 2, {"sku": "a", "cart_id": "c1", "amount": 99}),
    ("cart_added", 3, {"sku": "b", "cart_id": "c2", "amount": 60}),
    ("coupon_used", 4, {"coupon_id": "k", "amount": 5}),
    ("order_paid", 5, {"order_id": "o", "cart_id": "c1", "amount": 94.5}),
]


def told() -> tuple[bytes, bytes]:
    running = Engine(load_rulebook(HERE / "rulebook.yaml"), settle_ms=3000)
    state = running.load(None)
    events = [event(name, at, mid=f"g{at}", **properties) for name, at, properties in STORY]
    total = feed(running, state, events)
    packed = running.dump(state)
    add(total, running.on_timers(state, USER, minutes(60)))
    parts = {
        "tag_changes": total.tag_changes,
        "decisions": total.decisions,
        "touches": total.touches,
    }
    return packed, msgspec.json.format(encode(parts), indent=1) + b"\n"


def test_ids_versions_and_effects_are_those_of_the_release_before() -> None:
    """A change here sends touches again after an upgrade: delete the file only if that is meant."""
    _, effects = told()
    if not EFFECTS.exists():
        EFFECTS.write_bytes(effects)
        pytest.fail("the golden file was missing and has been written: look at it, commit it")
    assert json.loads(effects) == json.loads(EFFECTS.read_bytes())


def test_states_of_earlier_releases_are_read() -> None:
    if not STATE.exists():
        STATE.write_bytes(told()[0])
        pytest.fail("the golden state was missing and has been written: commit it")
    running = Engine(load_rulebook(HERE / "rulebook.yaml"))
    state = running.load(STATE.read_bytes())
    assert running.read_tags(state, minutes(5)) == {
        "views": 2,
        "view_24h": 2,
        "gmv": 94.5,
        "last_sku": "a",
        "coupons": True,
    }
    decisions = running.on_timers(state, USER, minutes(0) + DAY_MS).decisions
    assert [(one.rule, one.outcome) for one in decisions] == [("cart", "sent")]


def test_a_state_of_a_layout_that_is_gone_is_refused_with_what_to_do() -> None:
    running = Engine(load_rulebook(HERE / "rulebook.yaml"))
    with pytest.raises(StateUnreadable, match=r"layout 1, this release reads 2: .* by a replay"):
        running.load(OLDEST.read_bytes())
