"""With no java, mvn, npm or node on PATH, what pip brings runs the same broker."""

from pathlib import Path

import pytest

from deploy.local import java, kafka, node
from deploy.local.jars import VERSION
from deploy.local.parts import Engine
from deploy.local.process import Process
from deploy.progress import QUIET

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_the_broker_that_was_checked_runs_where_path_has_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("SIYU_CACHE", str(tmp_path / "cache"))
    home = tmp_path / "home"
    try:
        served = kafka.ensure(home, QUIET)
        assert served.engine == Engine("apache-kafka", VERSION)
        assert java.ensure(QUIET).startswith(str(tmp_path / "cache"))
        assert node.downloads(node.npm(QUIET)).is_absolute()
    finally:
        Process(kafka.NAME, home).stop()
