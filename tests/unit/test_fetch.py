import threading
from pathlib import Path

import pytest

from deploy.local import fetch


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIYU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_failed_fetch_leaves_nothing_that_looks_whole(cache: Path) -> None:
    def fail(work: Path) -> None:
        (work / "half").write_text("of it")
        raise OSError("the network went away")

    with pytest.raises(OSError, match="went away"):
        fetch.cached("thing", fail)
    assert [path.name for path in cache.iterdir()] == ["thing.lock"]


def test_what_a_killed_fetch_left_is_cleared_away(cache: Path) -> None:
    (cache / ".thing.killed").mkdir(parents=True)
    fetch.cached("thing", lambda work: (work / "whole").touch())
    assert sorted(path.name for path in cache.iterdir()) == ["thing", "thing.lock"]


def test_concurrent_fetches_of_one_thing_fetch_once() -> None:
    made: list[Path] = []
    begin = threading.Barrier(4)

    def ask() -> None:
        begin.wait()
        fetch.cached("thing", made.append)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
