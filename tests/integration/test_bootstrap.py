"""`./siyu` makes its environment whole or not at all, and hands over without getting in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.settings import ROOT

pytestmark = pytest.mark.integration

PROBE = "import os, sys; print(os.getcwd(), sys.argv[1:]); sys.exit(int(sys.argv[1]))\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout whose lock files are empty and whose command line tells what it was given."""
    root = tmp_path / "a clone"
    (root / "deploy").mkdir(parents=True)
    (root / "streams/commands").mkdir(parents=True)
    shutil.copy(ROOT / "siyu", root)
    for name in ("bootstrap.py", "progress.py"):
        shutil.copy(ROOT / "deploy" / name, root / "deploy")
    (root / "streams/commands/cli.py").write_text(PROBE)
    for name in ("requirements.lock", "requirements-dev.lock"):
        (root / name).write_text("# nothing\n")
    return root


def environment() -> dict[str, str]:
    # `./siyu test` sets PYTHONPATH to the real root, which would stand before the clone's parts.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**inherited, "SIYU_PYTHON": sys.executable}


def siyu(script: Path, *argv: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *argv],
        cwd=cwd,
        env={**environment(), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_hands_over_arguments_folder_and_exit_status_also_through_a_link(
    clone: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(clone / "siyu")
    elsewhere = tmp_path / "elsewhere"
    # A folder of the caller that is named like a package of ours must not stand in for it.
    (elsewhere / "streams").mkdir(parents=True)
    first = siyu(link, "7", "two words", cwd=elsewhere)
    assert (first.returncode, first.stdout) == (7, f"{elsewhere} ['7', 'two words']\n")
    second = siyu(link, "0", cwd=elsewhere)
    assert (second.returncode, second.stderr) == (0, "")


def test_a_half_made_environment_is_made_again(clone: Path) -> None:
    # What a kill -9 leaves: an environment without the mark of a finished install.
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(clone / ".venv")], check=True
    )
    assert siyu(clone / "siyu", "0", cwd=clone).returncode == 0
    assert (clone / ".venv/bin/pip").exists()


def test_concurrent_first_runs_both_succeed_and_install_once(clone: Path) -> None:
    argv, env = [str(clone / "siyu"), "0"], environment()
    runs = [
        subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    spoken = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sum("installing" in text for text in spoken) == 1


def test_a_changed_lock_is_installed_again_and_a_wrong_hash_refused(clone: Path) -> None:
    assert siyu(clone / "siyu", "0", cwd=clone).returncode == 0
    (clone / "requirements.lock").write_text("six==1.17.0 --hash=sha256:" + "0" * 64 + "\n")
    done = siyu(clone / "siyu", "0", cwd=clone)
    assert done.returncode == 3
    assert "hash" in done.stderr.lower()


def test_without_a_python_it_says_in_one_line_what_is_needed(clone: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("dirname", "readlink", "cmp"):
        (tools / name).symlink_to(shutil.which(name) or pytest.fail(f"no {name}"))
    done = siyu(clone / "siyu", "0", cwd=clone, PATH=str(tools), SIYU_PYTHON="python3")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "Python 3.11" in done.stderr
