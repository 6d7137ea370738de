import json
from pathlib import Path

import pytest

from schemas.conditions import Condition
from schemas.errors import ConfigInvalid
from schemas.segments import Segment
from schemas.settings import SHIPPED_PLAN
from streams.authoring.load import load_rulebook
from streams.commands.segments.files import Segments, read_segment, segment_of, segments_of
from streams.core.engine import Engine
from tests.land_harness import make_event

DAY_MS = 86_400_000
BOOK = """\
tags:
- {id: views, kind: count, event: product_viewed}
- {id: gmv_30d, kind: sum, event: order_paid, value: properties.amount, window: 30d}
"""
SEGMENTS = """\
# Who pays. 付费用户
segments:
# the best
- {id: vip, where: {tag.gmv_30d: {gte: 100}}}

# those who only look
- id: looker
  where:
    all: [{tag.views: {gte: 2}}, {not: {tag.segment_vip: true}}]
"""
RULE = """\
rules:
- {id: hello, trigger: {tag: {id: segment_vip, enters: true}}, steps: [{send: {via: [log], template: a}}]}
- {id: bye, trigger: {tag: {id: segment_vip, leaves: true}}, steps: [{send: {via: [log], template: b}}]}
"""  # noqa: E501 - YAML of a rule each


@pytest.fixture
def files(tmp_path: Path) -> Segments:
    (tmp_path / "tags.yaml").write_text(BOOK, "utf-8")
    (tmp_path / "segments.yaml").write_text(SEGMENTS, "utf-8")
    return Segments(tmp_path, SHIPPED_PLAN)


def asking(raw: object) -> Condition:
    return Condition.parse(raw, tags=True)


def test_entry_by_an_event_and_exit_by_time_alone_are_changes_that_rules_hear(
    files: Segments,
) -> None:
    (files.folder / "rules.yaml").write_text(RULE, "utf-8")
    engine = Engine(load_rulebook(files.folder))
    paid = make_event(2, properties={"amount": 150})
    state = engine.load(None)
    entered = engine.on_event(state, paid)
    moves = [(one.tag, one.before, one.after, one.message_id) for one in entered.tag_changes]
    assert ("segment_vip", None, True, paid.message_id) in moves
    assert [touch.rule for touch in entered.touches] == ["hello"]
    state = engine.load(engine.dump(state))
    due_ms = engine.next_timer_ms(state)
    assert due_ms is not None
    left = engine.on_timers(state, paid.user, due_ms)
    moves = [(one.tag, one.before, one.after, one.message_id) for one in left.tag_changes]
    assert ("segment_vip", True, None, "") in moves
    assert [touch.rule for touch in left.touches] == ["bye"]
    # Within a day of the window's end, and nothing was heard of the user meanwhile.
    assert 30 * DAY_MS <= due_ms - paid.timestamp_ms <= 31 * DAY_MS


def test_a_segment_of_segments_moves_with_them_at_one_event(files: Segments) -> None:
    engine = Engine(files.load())
    state = engine.load(None)
    for number in (0, 3):
        seen = engine.on_event(state, make_event(number))
    assert ("segment_looker", True) in {(one.tag, one.after) for one in seen.tag_changes}
    paid = engine.on_event(state, make_event(5, properties={"amount": 150}))
    moves = {one.tag: one.after for one in paid.tag_changes}
    assert (moves["segment_vip"], moves["segment_looker"]) == (True, None)


def test_defining_and_dropping_leave_comments_and_other_segments_as_they_were(
    files: Segments,
) -> None:
    path = files.add(
        Segment(id="new_one", where=asking({"tag.views": 1}), description="新"), replace=False
    )
    assert path.read_text("utf-8").startswith(SEGMENTS)
    assert segment_of(files.load(), "new_one").description == "新"
    files.drop("new_one")
    assert path.read_text("utf-8") == SEGMENTS


def test_replacing_changes_the_condition_in_its_place(files: Segments) -> None:
    new = Segment(id="vip", where=asking({"tag.gmv_30d": {"gte": 999}}))
    with pytest.raises(ConfigInvalid, match="--replace"):
        files.add(new, replace=False)
    path = files.add(new, replace=True)
    assert [tag.id for tag in segments_of(files.load())] == ["segment_vip", "segment_looker"]
    text = path.read_text("utf-8")
    assert "999" in text
    assert "gte: 100}" not in text
    assert text.count("#") == SEGMENTS.count("#")


def test_what_is_read_by_another_cannot_be_dropped_and_stays(files: Segments) -> None:
    with pytest.raises(ConfigInvalid, match="segment_vip"):
        files.drop("vip")
    assert (files.folder / "segments.yaml").read_text("utf-8") == SEGMENTS


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ({"tag.viws": 1}, "did you mean views"),
        ({"properties.amount": 1}, "tags only"),
        ({"tag.segment_bad": True}, "made of itself"),
        ({"tag.views": {"gtee": 1}}, "did you mean gte"),
    ],
)
def test_a_wrong_condition_is_told_and_nothing_is_written(
    files: Segments, where: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigInvalid, match=problem):
        files.add(read_segment("bad", json.dumps(where)), replace=False)
    assert (files.folder / "segments.yaml").read_text("utf-8") == SEGMENTS


def test_the_first_segment_makes_the_file_and_the_last_one_leaves_none_behind(
    tmp_path: Path,
) -> None:
    (tmp_path / "tags.yaml").write_text(BOOK, "utf-8")
    files = Segments(tmp_path, SHIPPED_PLAN)
    files.add(Segment(id="one", where=asking({"tag.views": {"gte": 1}})), replace=False)
    assert [tag.id for tag in segments_of(files.load())] == ["segment_one"]
    files.drop("one")
    assert segments_of(files.load()) == []
    files.add(Segment(id="two", where=asking({"tag.views": {"gte": 1}})), replace=False)
    assert [tag.id for tag in segments_of(files.load())] == ["segment_two"]


def test_a_segment_and_a_tag_cannot_have_one_name(files: Segments) -> None:
    clash = "tags:\n- {id: segment_vip, kind: count, event: product_viewed}\n"
    (files.folder / "clash.yaml").write_text(clash, "utf-8")
    with pytest.raises(ConfigInvalid, match="is taken"):
        files.load()
