"""Laws of the packed state: what nobody asks for is not read, not moved and not lost."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigInvalid
from schemas.events import Event
from streams.core.engine import Engine
from streams.core.state.cells import Cells, Group, StateUnreadable, number_of
from streams.core.state.user import State
from tests.engine_story import DAY_MS, USER, add, engine, event, feed, minutes
from tests.laws.test_kinds_laws import BOOK, happenings

ENGINE = engine(BOOK)
stories = st.lists(happenings(), max_size=20)
LATER_MS = minutes(0) + 4 * DAY_MS


def touch_all(state: State) -> State:
    ENGINE.read_tags(state, state.latest_ms)
    return state


def as_it_is(state: State) -> State:
    return state


@given(stories)
def test_a_state_decoded_lazily_is_one_decoded_at_once(story: list[Event]) -> None:
    def play(prepare: Callable[[State], State]) -> object:
        total, packed = feed(ENGINE, ENGINE.load(None), []), ENGINE.dump(ENGINE.load(None))
        for one in story:
            state = prepare(ENGINE.load(packed))
            add(total, ENGINE.on_event(state, one))
            packed = ENGINE.dump(prepare(state))
        state = prepare(ENGINE.load(packed))
        return total, packed, add(total, ENGINE.on_timers(state, USER, LATER_MS)), state

    assert play(as_it_is) == play(touch_all)


def cells(packed: bytes, running: Engine) -> dict[bytes, bytes]:
    held = running.load(packed).tags.items()
    return {number: msgspec.msgpack.encode(cell) for number, cell in held}


TAG_LINES = BOOK[BOOK.index("- {id: n,") : BOOK.index("- id: cycle")].splitlines()
IDS = [line.split("id: ")[1].split(",")[0] for line in TAG_LINES]


@given(stories, stories, st.sets(st.sampled_from(TAG_LINES), min_size=1, max_size=15))
def test_tags_that_the_rulebook_loses_stay_byte_for_byte_and_come_back(
    before: list[Event], meanwhile: list[Event], gone: set[str]
) -> None:
    whole = engine("tags:\n" + "\n".join(TAG_LINES))
    kept_lines = [one for one in TAG_LINES if one not in gone]
    left = engine("\n".join(["tags:", *kept_lines, "- {id: new, kind: count, event: cart_added}"]))
    lost = {number_of(tag) for tag, line in zip(IDS, TAG_LINES, strict=True) if line in gone}
    state = whole.load(None)
    feed(whole, state, before)
    at_first = whole.dump(state)
    state = left.load(at_first)
    feed(left, state, meanwhile)
    in_between = left.dump(state)
    kept = {number: cell for number, cell in cells(at_first, whole).items() if number in lost}
    assert {n: c for n, c in cells(in_between, left).items() if n in lost} == kept
    # The others went on as if nothing was: the tag set around them is no matter.
    state = whole.load(at_first)
    feed(whole, state, meanwhile)
    others = {n: c for n, c in cells(whole.dump(state), whole).items() if n not in lost}
    own = cells(in_between, left).items()
    assert {n: c for n, c in own if n not in lost | {number_of("new")}} == others
    # Back again: each goes on from what it had.
    back = whole.load(in_between)
    for tag, line in zip(IDS, TAG_LINES, strict=True):
        if line in gone:
            old = whole.load(at_first)
            assert whole.read_tag(back, tag, old.latest_ms) == whole.read_tag(
                old, tag, old.latest_ms
            )


@given(stories)
def test_tags_that_other_events_move_from_now_on_keep_what_they_have(story: list[Event]) -> None:
    one = engine(
        "tags:\n- {id: a, kind: count, event: order_paid}\n"
        "- {id: b, kind: count, event: order_paid}\n- {id: c, kind: count, event: product_viewed}"
    )
    two = engine(
        "tags:\n- {id: a, kind: count, event: product_viewed}\n"
        "- {id: b, kind: count, event: order_paid}\n- {id: c, kind: count, event: product_viewed}"
    )
    state = one.load(None)
    feed(one, state, story)
    state = two.load(one.dump(state))
    feed(two, state, story)
    paid, viewed = (sum(e.event == n for e in story) for n in ("order_paid", "product_viewed"))
    read = two.read_tags(two.load(two.dump(state)), state.latest_ms)
    assert read == {"a": paid + viewed, "b": 2 * paid, "c": 2 * viewed}
    # Nothing stands twice.
    numbers = [number for number, _ in two.load(two.dump(state)).tags.items()]
    assert len(numbers) == len(set(numbers))


def test_a_tag_of_another_kind_starts_anew() -> None:
    count = engine("tags: [{id: t, kind: count, event: product_viewed}]")
    last = engine("tags: [{id: t, kind: last, event: product_viewed, value: properties.sku}]")
    state = count.load(None)
    feed(count, state, [event("product_viewed", 0, sku="a")])
    state = last.load(count.dump(state))
    assert last.read_tags(state, minutes(1)) == {}
    changes = feed(last, state, [event("product_viewed", 1, sku="b")]).tag_changes
    assert [(c.before, c.after) for c in changes] == [(None, "b")]
    assert count.read_tag(count.load(last.dump(state)), "t", minutes(1)) == 0


def test_what_an_event_does_not_move_is_neither_read_nor_written() -> None:
    running = engine(
        "tags:\n- {id: a, kind: count, event: order_paid}\n"
        "- {id: b, kind: count, event: product_viewed}"
    )
    state = running.load(None)
    feed(running, state, [event("order_paid", 0, amount=1), event("product_viewed", 0, sku="a")])
    broken = {number_of("b"): b"\xc1"}
    state.tags = Cells(state.tags.packed() | broken)
    feed(running, state, [event("order_paid", 1, amount=1)])
    state = running.load(running.dump(state))
    assert state.tags.packed()[number_of("b")] == b"\xc1"
    assert running.read_tag(state, "a", minutes(1)) == 2
    with pytest.raises(StateUnreadable, match="packed state"):
        running.read_tag(state, "b", minutes(1))


@pytest.mark.parametrize("cells", [b"\x90", b"\x92\x91\x01\x91\x01", b"\x01", b"\x91\x91"])
def test_cells_that_do_not_fit_their_numbers_are_an_error(cells: bytes) -> None:
    with pytest.raises(StateUnreadable):
        Cells({number_of("t"): cells}).read(Group([number_of("t")]))


def test_two_tags_of_one_number_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"t15385 and t210367 have one number .*another id"):
        engine("tags:\n- {id: t15385, kind: channel}\n- {id: t210367, kind: channel}")
