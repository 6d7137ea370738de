"""What the stack fetches, once: whole in the cache or not there, also after kill -9."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.local.process import file_lock
from deploy.progress import QUIET, Progress, megabytes
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


def run(
    part: str,
    argv: Sequence[str],
    *,
    cwd: Path,
    remedy: str,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a tool to its end and return its stdout; PartMissing with its last words if it fails.

    ``env`` is added to ours.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PartMissing(part, f"{argv[0]}: {error}", remedy=remedy) from error
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise PartMissing(part, f"{argv[0]} failed ({done.returncode}):\n{last}\n", remedy=remedy)
    return done.stdout


def wheel(
    part: str,
    lock: Path,
    report: Progress = QUIET,
    *,
    total_mb: int = 1,
    why: str = "",
    remedy: str = "check the network and pip's settings, then try again",
) -> Path:
    """Return a folder with the wheels that ``lock`` names: unpacked under ``lib``, not installed.

    ``total_mb`` is about what pip has to fetch, ``why`` is told before.
    """

    def fill(work: Path) -> None:
        # pip fetches into the system's folder for such files; in this one it can be watched.
        (work / "tmp").mkdir()
        argv = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes"]
        argv += ["--only-binary", ":all:", "--target", str(work / "lib"), "-r", str(lock)]
        more = f":{why and f' {why},'} fetching with pip, once ({total_mb} MB)"
        with report.work(part, more, megabytes(total_mb, work)):
            run(part, argv, cwd=work, remedy=remedy, env={"TMPDIR": str(work / "tmp")})
        shutil.rmtree(work / "tmp")

    # Another lock is another folder: an upgrade never mixes two.
    return cached(f"{lock.stem}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}", fill)


def platform_tag() -> tuple[str, str]:
    """Return (linux | darwin, x64 | arm64) in Node's words."""
    machine = platform.machine().lower()
    arch = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(machine, machine)
    return platform.system().lower(), arch
