"""Laws of a kind of tag: each kind passes them by being in the catalogue, on its own examples."""

from copy import deepcopy
from functools import cache, reduce
from itertools import groupby
from typing import Any, Final, NamedTuple, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from schemas.settings import ROOT
from schemas.tags import EventTag, Layer, MadeTag, Tag
from sinks.clickhouse.event_sql import NotInSql
from sinks.clickhouse.tag_sql import TWINS, WITHOUT_TWIN, recompute, twin_of
from streams.commands.tags.words import describe
from streams.core.engine import Engine
from streams.core.event_time import event_time_ms
from streams.core.rulebook import Rulebook
from streams.core.state.cells import Cell
from streams.core.tags.catalogue import KINDS, SPECS, make_kind, make_take, make_value
from streams.core.tags.kind import Kind, Lasting
from streams.core.tags.kind_spec import Holds, KindSpec, Spec
from tests.engine_story import DAY_MS, MINUTE_MS, USER, add, book, event, feed, read_in_each_order
from tests.engine_story import minutes as at

TYPES: Final = {"number": int | float, "text": str, "true or false": bool, "list": list}
EVENTS: Final = ("order_paid", "product_viewed", "app_started")
SOME_DAYS_MS: Final = 4 * DAY_MS


class Case(NamedTuple):
    """One example of a kind."""

    spec: Spec[Any]
    text: str

    @property
    def rulebook(self) -> Rulebook:
        return _book(self.text)

    @property
    def engine(self) -> Engine:
        return _engine(self.text)

    @property
    def tag(self) -> Any:  # noqa: ANN401 - a tag of any kind
        return self.rulebook.tags[-1]

    def stories(self) -> st.SearchStrategy[list[Event]]:
        return st.lists(happenings(self.rulebook.tags), max_size=15)

    def folded(self, kind: Kind, story: list[Event], clock_ms: int) -> Cell:
        """Return the cell of all that a story holds for the tag, as of one time."""
        tag, cell = self.tag, kind.new()
        take = make_take(tag, kind)
        for one in story:
            if "*" in tag.event or one.event in tag.event:
                value = take(one)
                if value is not None:
                    kind.fold(cell, event_time_ms(one), clock_ms, value)
            if tag.ended_by is not None and one.event in tag.ended_by.event:
                kind.fold(cell, event_time_ms(one), clock_ms, value=False)
        return cell


@cache
def _book(text: str) -> Rulebook:
    return book(f"tags:\n{text}\n")


@cache
def _engine(text: str) -> Engine:
    return Engine(_book(text))


@st.composite
def happenings(draw: st.DrawFn, tags: tuple[Tag, ...]) -> Event:
    """Draw an event; some have one time, some no value, some are of no tag."""
    names = {name for tag in tags if isinstance(tag, EventTag) for name in tag.event} - {"*"}
    one = event(
        draw(st.sampled_from(sorted(names.union(EVENTS)))),
        draw(st.sampled_from([0, 30, 60]) | st.integers(0, 400)),
        received_min=500,
        amount=draw(st.floats(-1e4, 1e4) | st.integers(-100, 2000) | st.none()),
        sku=draw(st.sampled_from(["a", "b", "c", 1, "1", True, None])),
        tag=tags[-1].id,
        value=draw(st.sampled_from(["gold", "", 5, -2.5, False, None])),
    )
    one.source = draw(st.sampled_from(["server", "app"]))
    return one


CASES: Final = [Case(spec, text) for spec in SPECS for text in spec.examples]
OF_EVENTS: Final = [case for case in CASES if isinstance(case.spec, KindSpec)]
IDEMPOTENT: Final = [
    case for case in OF_EVENTS if isinstance(case.spec, KindSpec) and case.spec.idempotent
]


def named(cases: list[Case]) -> list[Any]:
    """Return cases as parameters, by kind and number."""
    return [
        pytest.param(case, id=f"{kind}-{number}")
        for kind, group in groupby(cases, lambda case: case.spec.kind)
        for number, case in enumerate(group)
    ]


every_case = pytest.mark.parametrize("case", named(CASES))
every_case_of_events = pytest.mark.parametrize("case", named(OF_EVENTS))
every_spec = pytest.mark.parametrize("spec", SPECS, ids=KINDS)


@every_case
@settings(max_examples=30)
@given(data=st.data())
def test_the_order_of_arrival_does_not_matter(case: Case, data: st.DataObject) -> None:
    story = data.draw(case.stories())
    orders = (story, data.draw(st.permutations(story)))
    one, other = read_in_each_order(case.engine, orders, data.draw(st.integers(0, 1000)))
    assert one == other


@every_case
@settings(max_examples=30)
@given(data=st.data())
def test_loading_and_dumping_change_nothing_in_the_middle_of_a_story(
    case: Case, data: st.DataObject
) -> None:
    running, story = case.engine, data.draw(case.stories())
    whole, cut = running.load(None), running.load(None)
    said, said_cut = feed(running, whole, story), feed(running, cut, [])
    for one in story:
        packed = running.dump(cut)
        cut = running.load(packed)
        assert running.dump(cut) == packed
        add(said_cut, running.on_event(cut, one))
    assert (said_cut, running.load(running.dump(cut))) == (said, whole)


@every_case
@settings(max_examples=30)
@given(data=st.data())
def test_changes_lead_from_nothing_to_the_value_and_time_runs_forward_to_an_end(
    case: Case, data: st.DataObject
) -> None:
    running, tag, state = case.engine, case.tag, case.engine.load(None)
    story = data.draw(case.stories())
    shown = running.read_tag(state, tag.id, at(0))
    changes = feed(running, state, story).tag_changes
    later_ms, due_ms = at(0) + SOME_DAYS_MS, 0
    while (next_ms := running.next_timer_ms(state)) is not None:
        assert due_ms < next_ms < later_ms, "time stands still, or comes to no end"
        due_ms = next_ms
        moved = running.on_timers(state, USER, due_ms).tag_changes
        assert all(change.time_ms <= due_ms for change in moved)
        changes += moved
    for change in changes:
        if change.tag == tag.id:
            assert change.before == shown, change
            assert conforms(case.spec, tag, change.after), change
            shown = change.after
    assert running.read_tag(state, tag.id, later_ms) == shown


def conforms(spec: Spec[Any], tag: Tag, value: object) -> bool:
    """Say whether a value, and each part of it, is of the type that its kind states."""
    if value is None:
        return True
    if spec.parts or spec.each_part is not None:
        return isinstance(value, dict) and all(
            (name in spec.parts or spec.each_part is not None)
            and _is(spec.parts.get(name, spec.each_part), part)
            for name, part in value.items()
        )
    return not isinstance(value, dict) and _is(spec.holds(tag), value)


def _is(holds: Holds | None, value: object) -> bool:
    if holds is None or value is None:
        return True
    if isinstance(value, bool) != (holds.type == "true or false"):
        return False
    return isinstance(value, TYPES[holds.type]) and (not holds.values or value in holds.values)


@every_case_of_events
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_folded_is_what_the_kind_accepts_of_the_value(
    case: Case, data: st.DataObject
) -> None:
    kind = make_kind(case.tag)
    take, value = make_take(case.tag, kind), make_value(case.tag)
    for one in data.draw(case.stories()):
        assert take(one) == kind.accept(value(one))


@every_case_of_events
@settings(max_examples=40)
@given(data=st.data())
def test_a_merge_is_what_one_user_with_all_events_would_hold(
    case: Case, data: st.DataObject
) -> None:
    kind, clock_ms = make_kind(case.tag), at(400)
    parts = data.draw(st.lists(case.stories(), min_size=3, max_size=3))
    one, two, three = (case.folded(kind, part, clock_ms) for part in parts)
    whole = case.folded(kind, [one for part in parts for one in part], clock_ms)

    def joined(*cells: Cell) -> Cell:
        return reduce(lambda a, b: kind.merge(a, b, clock_ms), deepcopy(list(cells)))

    ways = [
        joined(one, two, three),
        joined(one, joined(two, three)),
        joined(three, two, one),
        joined(kind.new(), one, two, three, kind.new()),
    ]
    later_ms = clock_ms + data.draw(st.integers(0, 300)) * MINUTE_MS
    for cell in ways:
        for at_ms in (clock_ms, later_ms):
            assert kind.read(cell, at_ms) == kind.read(whole, at_ms)
            assert kind.expiry_ms(cell) == kind.expiry_ms(whole)
        assert cell[0] == kind.code
        packed = msgspec.msgpack.encode(cell)
        assert msgspec.msgpack.decode(packed, strict=False) == cell
        assert len(packed) <= describe(case.tag, case.rulebook)["state_bytes"]["at_most"]


@every_case_of_events
@settings(max_examples=30)
@given(data=st.data())
def test_time_alone_moves_a_value_when_the_kind_says_so(case: Case, data: st.DataObject) -> None:
    kind, clock_ms = make_kind(case.tag), at(400)
    cell = case.folded(kind, data.draw(case.stories()), clock_ms)
    expiry_ms = kind.expiry_ms(cell)
    assert not (expiry_ms and isinstance(kind, Lasting))
    for _ in range(100):
        if not expiry_ms:
            return
        before, after, since_ms = kind.expire(cell, expiry_ms)
        assert since_ms <= expiry_ms
        assert after == kind.read(cell, expiry_ms)
        next_ms = kind.expiry_ms(cell)
        assert before != after or next_ms != expiry_ms
        assert not next_ms or next_ms > expiry_ms
        expiry_ms = next_ms
    pytest.fail("time never comes to an end")


@every_case_of_events
def test_nothing_seen_reads_as_the_empty_value(case: Case) -> None:
    kind = make_kind(case.tag)
    assert kind.read(kind.new(), at(0)) == kind.empty
    assert kind.expiry_ms(kind.new()) == 0
    assert conforms(case.spec, case.tag, kind.empty)
    assert kind.empty == twin_of(case.spec.kind).empty


@pytest.mark.parametrize("case", named(IDEMPOTENT))
@settings(max_examples=30)
@given(data=st.data())
def test_a_repeat_changes_nothing_where_the_kind_says_so(case: Case, data: st.DataObject) -> None:
    kind, clock_ms, story = make_kind(case.tag), at(400), data.draw(case.stories())
    once, twice = (case.folded(kind, told, clock_ms) for told in (story, story + story))
    assert kind.read(once, clock_ms) == kind.read(twice, clock_ms)
    assert kind.expiry_ms(once) == kind.expiry_ms(twice)


@every_case
def test_a_kind_is_told_in_words_with_its_cost_and_its_error(case: Case) -> None:
    told = describe(case.tag, case.rulebook)
    assert told["kind"] == case.spec.kind
    assert told["layer"] in get_args(Layer)
    assert told["means"]
    assert "None" not in told["means"]
    assert told["error"]
    assert 0 < told["state_bytes"]["one_event"] <= told["state_bytes"]["at_most"]
    assert told["made_of"] if isinstance(case.tag, MadeTag) else told["events"]


@every_spec
def test_a_kind_has_a_model_that_editors_know_and_examples_of_it(spec: Spec[Any]) -> None:
    schema = spec.model.model_json_schema()
    assert schema["properties"]["kind"]["const"] == spec.kind
    assert schema["description"]
    assert spec.examples
    assert {_book(text).tags[-1].kind for text in spec.examples} == {spec.kind}


def test_no_kind_takes_the_cell_of_another() -> None:
    codes = {(case.spec.kind, make_kind(case.tag).code) for case in OF_EVENTS}
    assert len({code for _, code in codes}) == len(codes)
    assert len(set(KINDS)) == len(KINDS)


@every_spec
def test_a_kind_is_written_once_more_in_sql_or_it_is_said_why_not(spec: Spec[Any]) -> None:
    if isinstance(spec, KindSpec):
        tags = [_book(text).tags[-1] for text in spec.examples]
        queries = {recompute(tag, at(0)) for tag in tags if isinstance(tag, EventTag)}
        assert all("FROM audit_events" in query for query in queries)
    else:
        assert WITHOUT_TWIN[spec.kind]
        with pytest.raises(NotInSql, match=spec.kind):
            twin_of(spec.kind)


def test_sql_and_docs_know_all_kinds_and_no_others() -> None:
    assert TWINS.keys() | WITHOUT_TWIN.keys() == set(KINDS)
    assert not TWINS.keys() & WITHOUT_TWIN.keys()
    text = (ROOT / "docs/tags.md").read_text("utf-8")
    for section in ("## The kinds", "## How exact, how late"):
        _, _, rest = text.partition(f"\n{section}\n")
        lines = rest.partition("\n## ")[0].splitlines()
        first_cells = [line.split("|")[1] for line in lines if line.startswith("|")]
        told = {word for cell in first_cells for word in cell.split("`")[1::2]}
        assert set(KINDS) <= told, section
