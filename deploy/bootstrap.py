"""Makes .venv from a lock file, whole or not at all; plain Python, as nothing is installed yet.

`bootstrap.py requirements.lock`: the copy of the lock in .venv is the mark of a finished install;
it is taken away before anything changes, so a killed run is seen and done again.
"""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# `python -I` looks for modules in the standard library alone; this one needs no more.
sys.path.insert(0, str(ROOT))
from deploy.progress import Progress  # noqa: E402 - the line above finds it

VENV = ROOT / ".venv"
# The larger one first: it holds all of the smaller.
LOCKS = ("requirements-dev.lock", "requirements.lock")
TELL = Progress(prefix="siyu: ")


def main(name: str) -> int:
    """Install ``name`` (a lock file of the root) and return the exit status."""
    guard = ROOT / ".siyu" / "bootstrap.lock"
    guard.parent.mkdir(exist_ok=True)
    with guard.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if _installed(name):
            return 0
        # pip holds the lock too: if we are killed and it lives on, the next run waits for it.
        os.set_inheritable(file.fileno(), True)  # noqa: FBT003 - the library's signature
        return _make(name)


def _installed(name: str) -> bool:
    mark = VENV / f".{name}"
    return (
        (VENV / "bin/python").exists()
        and mark.exists()
        and mark.read_bytes() == (ROOT / name).read_bytes()
    )


def _make(name: str) -> int:
    started_s = time.monotonic()
    if not _venv_is_whole():
        if (
            importlib.util.find_spec("ensurepip") is None
            or importlib.util.find_spec("venv") is None
        ):
            return _fail("this Python has no venv module (Debian: apt install python3-venv)")
        status, said = _run(
            "making .venv", "", [sys.executable, "-m", "venv", "--clear", str(VENV)]
        )
        if status:
            return _fail(f"venv failed (Debian: apt install python3-venv): {_last(said)}")
    # Also when only the tools for tests are added: they must not leave a half-changed .venv behind.
    for lock in LOCKS:
        (VENV / f".{lock}").unlink(missing_ok=True)
    count = sum(line[:1].isalnum() for line in (ROOT / name).read_text().splitlines())
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--progress-bar=off", "--require-hashes", "-r", str(ROOT / name)]
    what, more = f"installing {count} packages", " into .venv (once, about a minute)"
    status, said = _run(what, more, pip, lambda said: _packages(said, count))
    if status:
        return _fail(f"pip failed; check the network and pip's settings:\n{_last(said, 8)}")
    _compile()
    for lock in LOCKS[LOCKS.index(name) :]:
        _mark(lock)
    TELL(f"ready in {time.monotonic() - started_s:.0f} s")
    return 0


def _packages(said: str, count: int) -> str:
    """Return how far pip is: it names each package when it begins to fetch it."""
    if "Installing collected packages" in said:
        return "unpacking"
    # One that is for another system or Python is ignored.
    begun = sum(line.startswith(("Collecting ", "Ignoring ")) for line in said.splitlines())
    return f"{begun} of {count}"


def _compile() -> None:
    """Make machine code of the core; it runs without, too, so nothing here is a failure."""
    argv = [str(VENV / "bin/python"), "-P", str(ROOT / "deploy/compile.py")]
    more = " (once, a minute or two)"
    status, said = _run("compiling the core", more, argv, PYTHONPATH=str(ROOT))
    if status:
        TELL(f"the core runs as Python, at half the speed: {_last(said)}")


def _venv_is_whole() -> bool:
    # A mark of any lock, even an older one: that install had finished.
    return (VENV / "bin/python").exists() and any((VENV / f".{lock}").exists() for lock in LOCKS)


def _mark(lock: str) -> None:
    part = VENV / f".{lock}.tmp"
    shutil.copyfile(ROOT / lock, part)
    part.replace(VENV / f".{lock}")


def _run(
    what: str,
    more: str,
    argv: list[str],
    how_far: Callable[[str], str] = lambda _said: "",
    **variables: str,
) -> tuple[int, str]:
    """Run a tool and tell how far it is; return its exit status and what it said."""
    # The caller's PYTHONPATH is for the program, not for its installer.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    with tempfile.TemporaryFile() as file:

        def said() -> str:
            # Not by the file's own position: the tool writes at it.
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), size, 0).decode("utf-8", "replace")

        with TELL.work(what, more, lambda: how_far(said())):
            done = subprocess.run(
                argv, stdout=file, stderr=subprocess.STDOUT, check=False, env=env, close_fds=False
            )
        return done.returncode, said()


def _last(said: str, lines: int = 1) -> str:
    return "\n".join(said.strip().splitlines()[-lines:])


def _fail(problem: str) -> int:
    TELL(problem)
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
