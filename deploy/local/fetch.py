"""What the stack fetches, once: whole in the cache or not there, also after kill -9."""

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from deploy.local.process import file_lock
from schemas.errors import PartMissing
from schemas.settings import StackSettings

FETCH_TIMEOUT_S: Final = 900


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return the cache folder ``name``, filled by ``make(empty folder)`` if it is not there."""
    cache = StackSettings().cache
    final = cache / name
    if final.exists():
        return final
    with file_lock(cache / f"{name}.lock"):
        if final.exists():
            return final
        # We hold the lock, so these are of runs that were killed.
        for leftover in cache.glob(f".{name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache))
        try:
            make(work)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def run(part: str, argv: Sequence[str], *, cwd: Path, remedy: str) -> str:
    """Run a tool to its end and return its stdout; PartMissing with its last words if it fails."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, capture_output=True, text=True, check=False, timeout=FETCH_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PartMissing(part, f"{argv[0]}: {error}", remedy=remedy) from error
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise PartMissing(part, f"{argv[0]} failed ({done.returncode}):\n{last}\n", remedy=remedy)
    return done.stdout


def wheel(part: str, lock: Path) -> Path:
    """Return a folder with the wheels that ``lock`` names, unpacked but not installed."""

    def fill(work: Path) -> None:
        argv = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes"]
        argv += ["--only-binary", ":all:", "--target", str(work / "lib"), "-r", str(lock)]
        run(part, argv, cwd=work, remedy="check the network and pip's settings, then try again")

    # Another lock is another folder: an upgrade never mixes two.
    return cached(f"{lock.stem}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}", fill)


def platform_tag() -> tuple[str, str]:
    """Return (linux | darwin, x64 | arm64) in Node's words."""
    machine = platform.machine().lower()
    arch = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(machine, machine)
    return platform.system().lower(), arch
