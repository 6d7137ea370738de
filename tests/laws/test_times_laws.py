from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from streams.core.event_time import (
    DAY_MS,
    EARLIEST_MS,
    EARLIEST_OF_SERVERS_MS,
    FURTHEST_MS,
    FUTURE_MS,
    LATE_MS,
    event_time,
)

NOW_MS = 1_782_900_000_000
clocks = st.integers(-(10**15), 10**15)


@given(st.integers(-FUTURE_MS, 3000 * DAY_MS), clocks)
def test_the_clients_clock_does_not_matter_when_it_tells_when_it_sent(
    age_ms: int, skew_ms: int
) -> None:
    sent_ms = NOW_MS + skew_ms
    time_ms, _ = event_time(NOW_MS, sent_ms - age_ms, sent_ms)
    assert time_ms == NOW_MS - age_ms


@given(st.none() | clocks, st.none() | clocks)
def test_event_time_is_always_plausible(original_ms: int | None, sent_ms: int | None) -> None:
    time_ms, marks = event_time(NOW_MS, original_ms, sent_ms)
    assert EARLIEST_MS <= time_ms <= NOW_MS + FURTHEST_MS
    if not marks:
        assert NOW_MS - LATE_MS <= time_ms <= NOW_MS + FUTURE_MS


def test_marks_begin_past_their_bounds() -> None:
    assert event_time(NOW_MS, NOW_MS - LATE_MS, None)[1] == []
    assert event_time(NOW_MS, NOW_MS - LATE_MS - 1, None)[1] == ["late"]
    assert event_time(NOW_MS, NOW_MS + FUTURE_MS, None)[1] == []
    assert event_time(NOW_MS, NOW_MS + FUTURE_MS + 1, None)[1] == ["future"]


def test_a_clock_that_was_never_set_gives_our_time_and_a_mark() -> None:
    assert event_time(NOW_MS, 0, None) == (NOW_MS, ["late"])
    assert event_time(NOW_MS, NOW_MS * 2, None) == (NOW_MS, ["future"])


def test_a_server_may_tell_of_older_days() -> None:
    ask = partial(event_time, NOW_MS, sent_ms=None, earliest_ms=EARLIEST_OF_SERVERS_MS)
    for told_ms in (EARLIEST_OF_SERVERS_MS, EARLIEST_MS - 1):
        assert ask(told_ms) == (told_ms, ["late"])
    for told_ms in (0, EARLIEST_OF_SERVERS_MS - 1):
        assert ask(told_ms) == (NOW_MS, ["late"])
