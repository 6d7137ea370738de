import json
import os
import subprocess
import sys
from typing import Any

import pytest

from schemas.settings import ROOT

pytestmark = pytest.mark.integration


def digest(**env: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.core_digest"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_compiled_core_says_and_keeps_what_the_python_one_does() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "streams.runtime.cli", "compile", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        problem = json.loads(made.stdout)["problem"]
        assert problem.startswith(("no C compiler", "no headers")), problem
        assert os.environ.get("SIYU_REQUIRE_COMPILED") != "1", problem
        pytest.skip(problem)
    compiled, interpreted = digest(), digest(SIYU_COMPILED="0")
    assert (compiled["compiled"], interpreted["compiled"]) == (True, False)
    assert compiled["folds"] == interpreted["folds"]
