"""Laws of what comes from outside and of rhythm: order, repeats, and time alone."""

from math import exp

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Event
from streams.core.state.cells import Cell
from streams.core.tags.kinds.churn_risk import Churn, quantile_ms, rhythm, score
from streams.core.tags.kinds.imported import Imported, imported
from tests.engine_story import DAY_MS, HOUR_MS, T0_MS, USER, engine, event, feed

KIND = Imported()
VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["gold", "silver", ""])


def said(at_min: int, value: object, *, tag: str = "vip", source: str = "server") -> Event:
    one = event("tag_imported", at_min, received_min=500, tag=tag, value=value)
    one.source = source  # type: ignore[assignment]  # the strategies give names of sources
    return one


imports = st.lists(st.builds(said, st.integers(0, 4), VALUES), max_size=8)


def folded(story: list[Event]) -> Cell:
    cell, read = KIND.new(), imported("vip")
    for one in story:
        taken = KIND.accept(read(one))
        if taken is not None:
            KIND.fold(cell, one.timestamp_ms, T0_MS, taken)
    return cell


@given(imports.flatmap(lambda one: st.tuples(st.just(one), st.permutations(one))))
def test_an_import_is_the_latest_by_its_time_in_whatever_order_and_however_often(
    both: tuple[list[Event], list[Event]],
) -> None:
    story, other = both
    assert folded(story) == folded(other) == folded(story + other)
    if story:
        latest = max(one.timestamp_ms for one in story)
        last = [one.properties["value"] for one in story if one.timestamp_ms == latest]
        assert any(
            KIND.read(folded(story), 0) is one or KIND.read(folded(story), 0) == one for one in last
        )


def test_only_a_server_imports_and_an_import_is_no_behaviour() -> None:
    running = engine("""
tags:
- {id: vip, kind: import}
- {id: n, kind: count, event: "*"}
- {id: cycle, kind: stage, stages: [{here: {since_last: {lt: 1h}}}], else: away}
""")
    state = running.load(None)
    feed(running, state, [event("app_started", 0), said(200, "gold")])
    feed(running, state, [said(201, "diamond", source="app"), said(202, "x", tag="other")])
    assert running.read_tags(state, T0_MS + 9 * HOUR_MS) == {
        "vip": "gold",
        "n": 1,
        "cycle": "away",
    }
    feed(running, state, [said(300, None)])
    assert "vip" not in running.read_tags(state, T0_MS + 9 * HOUR_MS)


gaps = st.lists(st.integers(1, 90 * 24), min_size=1, max_size=15)


@given(gaps, st.floats(-1.2, 1.6))
def test_a_level_is_reached_in_the_very_millisecond_that_its_formula_says(
    hours: list[int], z: float
) -> None:
    times = [T0_MS]
    for one in hours:
        times.append(times[-1] + one * HOUR_MS)
    mean_ms, regularity = rhythm(times, DAY_MS)
    at_ms = quantile_ms(mean_ms, regularity, z)
    assert score(at_ms, mean_ms, regularity) >= z - 1e-9
    assert at_ms == 1 or score(at_ms - 1, mean_ms, regularity) < z + 1e-9


@given(gaps)
def test_the_risk_only_rises_with_silence_and_levels_follow_it(hours: list[int]) -> None:
    kind = Churn(60 * DAY_MS, middle=0.5, high=0.8)
    cell, at_ms = kind.new(), T0_MS
    for one in [0, *hours]:
        at_ms += one * HOUR_MS
        kind.fold(cell, at_ms, at_ms, 0)
    ranks = {"low": 0, "middle": 1, "high": 2}
    reads = [kind.read(cell, at_ms + step * 6 * HOUR_MS) for step in range(0, 1200, 7)]
    pairs = [(one["risk"], ranks[one["level"]]) for one in reads if isinstance(one, dict)]
    assert pairs == sorted(pairs)
    assert all(rank == (risk >= 0.5) + (risk >= 0.8) for risk, rank in pairs)


def test_at_random_times_the_risk_is_that_of_a_poisson_process_within_two_hundredths() -> None:
    from statistics import NormalDist

    worst = max(
        abs(NormalDist().cdf(score(silence, 100.0, 1.0)) - (1 - exp(-silence / 100.0)))
        for silence in range(1000)
    )
    assert worst < 0.02


def test_the_regular_are_missed_sooner_and_time_alone_tells_at_the_exact_time() -> None:
    running = engine("tags: [{id: risk, kind: churn_risk, event: order_paid, rhythm: 30d}]")
    levels = {}
    for name, days in (("regular", (0, 30, 60, 90, 120)), ("random", (0, 2, 55, 60, 120))):
        state = running.load(None)
        feed(running, state, [event("order_paid", day * 24 * 60) for day in days])
        at_ms = T0_MS + (120 + 40) * DAY_MS
        levels[name] = running.read_tag(state, "risk", at_ms)
        steps = []
        while (due_ms := running.next_timer_ms(state)) is not None:
            for change in running.on_timers(state, USER, due_ms).tag_changes:
                assert change.time_ms == due_ms
                steps.append((change.after["risk"], change.after["level"]))
        assert steps == sorted(steps, key=lambda step: step[0])
        assert steps[-1] == (0.9, "high")
        assert {level for _, level in steps} == {"low", "middle", "high"}
    assert levels["regular"]["level"] == "high"  # type: ignore[index]  # it is a mapping
    assert levels["random"]["level"] == "middle"  # type: ignore[index]  # as above
