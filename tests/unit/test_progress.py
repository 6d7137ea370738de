"""Long work is told: on a terminal in one line, in a log in whole lines."""

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.progress import QUIET, Progress, megabytes

CLEAR = "\r\x1b[K"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def until(holds: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_log_gets_whole_lines_with_how_far_it_is() -> None:
    log = io.StringIO()
    tell = Progress(log, prefix="siyu: ", every_s=0.01)
    with tell.work("fetching", " it, once", lambda: "3 of 9"):
        until(lambda: "3 of 9" in log.getvalue())
    tell("ready")
    first, second, *_, last = log.getvalue().splitlines()
    assert (first, second, last) == (
        "siyu: fetching it, once",
        "siyu: fetching: 3 of 9, 0 s",
        "siyu: ready",
    )


def test_short_work_is_one_line_of_a_log() -> None:
    log = io.StringIO()
    with Progress(log).work("fetching", how_far=lambda: "3 of 9"):
        pass
    assert log.getvalue() == "fetching\n"


def test_a_terminal_has_one_line_that_is_written_over_and_cleared() -> None:
    screen = Terminal()
    tell = Progress(screen, every_s=60)
    with tell.work("Kafka", ": fetching"), tell.work("ClickHouse", ": fetching"):
        assert f"{CLEAR}Kafka: fetching{CLEAR}" in screen.getvalue()
        assert screen.getvalue().endswith(f"{CLEAR}Kafka | ClickHouse")
        tell("a line that stays")
        assert screen.getvalue().endswith(f"{CLEAR}a line that stays\nKafka | ClickHouse")
    assert screen.getvalue().endswith(CLEAR)
    assert screen.getvalue().count("\n") == 1


def test_a_long_line_is_cut_so_that_it_can_be_written_over() -> None:
    screen = Terminal()
    with Progress(screen, every_s=60).work("x" * 300):
        pass
    assert max(map(len, screen.getvalue().split(CLEAR))) < 80


def test_the_line_goes_also_when_the_work_fails() -> None:
    screen = Terminal()
    with pytest.raises(OSError, match="no network"), Progress(screen).work("fetching"):
        raise OSError("no network")
    assert screen.getvalue().endswith(CLEAR)
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with QUIET.work("fetching", how_far=lambda: "3 of 9"):
        QUIET("a line")
    assert capsys.readouterr() == ("", "")


def test_megabytes_never_go_back_and_end_with_unpacking(tmp_path: Path) -> None:
    how_far = megabytes(5, tmp_path / "missing", tmp_path)
    assert how_far() == "0 of 5 MB"
    (tmp_path / "half").write_bytes(bytes(3_000_000))
    assert how_far() == "3 of 5 MB"
    (tmp_path / "half").write_bytes(b"")
    assert how_far() == "3 of 5 MB"
    (tmp_path / "whole").write_bytes(bytes(6_000_000))
    assert how_far() == "unpacking"
