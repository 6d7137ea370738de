import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import ROOT
from streams import compiled

PACKAGES = sorted(path.parent for path in (ROOT / compiled.CORE).rglob("__init__.py"))
# Where each module of the core is loaded from.
LOADED = """
import importlib, json, sys
print(json.dumps({name: importlib.import_module(name).__file__ for name in sys.argv[1:]}))
"""


def python(*argv: str, **env: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", *argv],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def machine_code() -> None:
    """Skip where the core cannot be compiled; a failure where that must not be."""
    made = subprocess.run(
        [sys.executable, "-m", "streams.commands.cli", "compile", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        problem = json.loads(made.stdout)["problem"]
        assert problem.startswith(("no C compiler", "no headers")), problem
        assert os.environ.get("SIYU_REQUIRE_COMPILED") != "1", problem
        pytest.skip(problem)


@pytest.mark.integration
@pytest.mark.usefixtures("machine_code")
def test_the_compiled_core_says_and_keeps_what_the_python_one_does() -> None:
    fast, slow = (python("-m", "tests.core_digest", SIYU_COMPILED=on) for on in ("1", "0"))
    assert (fast["compiled"], slow["compiled"]) == (True, False)
    assert fast["folds"] == slow["folds"]


@pytest.mark.integration
@pytest.mark.usefixtures("machine_code")
def test_every_module_that_is_meant_to_be_compiled_is_loaded_as_machine_code() -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in compiled.sources()]
    loaded: dict[str, str] = python("-c", LOADED, *names)
    assert len(loaded) > 50
    assert [name for name, file in loaded.items() if not file.endswith((".so", ".pyd"))] == []


def test_what_stays_python_is_there_and_all_else_is_meant_to_be_compiled() -> None:
    core = ROOT / compiled.CORE
    every = {path for path in core.rglob("*.py") if path.name != "__init__.py"}
    interpreted = [set(core.glob(pattern)) for pattern in compiled.INTERPRETED]
    assert all(interpreted)
    assert set(compiled.sources()) == every.difference(*interpreted)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_an_edit_in_any_package_of_the_core_makes_the_compiled_one_stale(
    package: Path, tmp_path: Path
) -> None:
    for source in (compiled.CORE, "schemas"):
        shutil.copytree(ROOT / source, tmp_path / source)
    before = compiled.folder(tmp_path)
    assert before == compiled.folder(ROOT)
    edited = next(path for path in sorted(package.glob("*.py")) if path.name != "__init__.py")
    copy = tmp_path / edited.relative_to(ROOT)
    copy.write_text(copy.read_text("utf-8") + "\n", "utf-8")
    assert compiled.folder(tmp_path) != before
    copy.rename(copy.with_name("renamed.py"))
    assert compiled.folder(tmp_path) not in (before, compiled.folder(ROOT))
