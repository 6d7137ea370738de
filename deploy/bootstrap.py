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
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
# The larger one first: it holds all of the smaller.
LOCKS = ("requirements-dev.lock", "requirements.lock")


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
        _say("making .venv")
        venv = _run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        if venv.returncode:
            return _fail(f"venv failed (Debian: apt install python3-venv): {_last(venv)}")
    # Also when only the tools for tests are added: they must not leave a half-changed .venv behind.
    for lock in LOCKS:
        (VENV / f".{lock}").unlink(missing_ok=True)
    count = sum(line[:1].isalnum() for line in (ROOT / name).read_text().splitlines())
    _say(f"installing {count} packages into .venv (once, about half a minute)")
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = _run([*pip, "--require-hashes", "-r", str(ROOT / name)])
    if done.returncode:
        return _fail(f"pip failed; check the network and pip's settings:\n{_last(done, 8)}")
    _compile()
    for lock in LOCKS[LOCKS.index(name) :]:
        _mark(lock)
    _say(f"ready in {time.monotonic() - started_s:.0f} s\n")
    return 0


def _compile() -> None:
    """Make machine code of the core; it runs without, too, so nothing here is a failure."""
    _say("compiling the core (once, about a minute)")
    argv = [str(VENV / "bin/python"), "-P", str(ROOT / "deploy/compile.py")]
    done = _run(argv, PYTHONPATH=str(ROOT))
    if done.returncode:
        _say(f"the core runs as Python, at half the speed: {_last(done)}\n")


def _venv_is_whole() -> bool:
    # A mark of any lock, even an older one: that install had finished.
    return (VENV / "bin/python").exists() and any((VENV / f".{lock}").exists() for lock in LOCKS)


def _mark(lock: str) -> None:
    part = VENV / f".{lock}.tmp"
    shutil.copyfile(ROOT / lock, part)
    part.replace(VENV / f".{lock}")


def _run(argv: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    # The caller's PYTHONPATH is for the program, not for its installer.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, env=env | more, close_fds=False
    )


def _last(done: subprocess.CompletedProcess[str], lines: int = 1) -> str:
    return "\n".join((done.stdout + done.stderr).strip().splitlines()[-lines:])


def _say(text: str) -> None:
    # One line that is written over on a terminal; whole lines in a log.
    start, end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")
    sys.stderr.write(
        f"{start}siyu: {text.rstrip()}{end if not text.endswith(chr(10)) else chr(10)}"
    )
    sys.stderr.flush()


def _fail(problem: str) -> int:
    _say(problem + "\n")
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
