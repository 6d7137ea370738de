import sys
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.runtime import progress
from streams.runtime.progress import RestoreProgress, progress_of


@pytest.fixture
def clock_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock shows: a test sets it."""
    now_s = [0.0]
    monkeypatch.setattr("streams.runtime.progress.time.monotonic", lambda: now_s[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    return now_s


def _events(logs: Any) -> list[tuple[str, int]]:  # noqa: ANN401 - structlog's entries
    return [(log["event"], log.get("done", log.get("percent", log.get("records")))) for log in logs]


def test_where_nobody_looks_a_line_comes_every_two_seconds(clock_s: list[float]) -> None:
    with capture_logs() as logs, progress_of("work", 10) as at:
        for second in range(6):
            clock_s[0] = float(second)
            at(second)
    assert _events(logs) == [("work", 3)]


def test_who_is_quiet_says_nothing(clock_s: list[float]) -> None:
    with capture_logs() as logs, progress_of("work", 10, quiet=True) as at:
        clock_s[0] = 10.0
        at(9)
    assert logs == []


@pytest.mark.parametrize(
    ("keys", "events"), [(4, [("restoring", 50), ("restored", 8)]), (None, [("restoring", 50)])]
)
def test_a_restore_says_its_end_unless_it_failed(
    clock_s: list[float], keys: int | None, events: list[tuple[str, int]]
) -> None:
    with capture_logs() as logs:
        restore = RestoreProgress("state", 0, 8)
        clock_s[0] = 3.0
        restore.at(4, 2)
        restore.end(keys)
    assert _events(logs) == events


@pytest.mark.usefixtures("clock_s")
def test_on_a_terminal_the_bars_go_with_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with capture_logs() as logs:
        with progress_of("one", 2) as one, progress_of("two", None) as two:
            one(1)
            two(1)
            drawn = progress._BARS._drawn  # noqa: SLF001 - what is on the screen
            assert drawn is not None
            assert [task.completed for task in drawn.tasks] == [1, 1]
        assert progress._BARS._drawn is None  # noqa: SLF001 - as above
    assert logs == []
