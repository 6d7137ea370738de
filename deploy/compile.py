"""Compiles the core by mypyc: `siyu compile` and the bootstrap run it.

Needs a C compiler and Python's headers. Exit status 0: compiled, or it was already; 3: it
cannot be, the core runs as Python, and the last line says why.
"""

import contextlib
import io
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Final

from mypyc.build import mypycify
from setuptools import setup

from streams.compiled import folder, sources

ROOT: Final = Path(__file__).resolve().parent.parent


def main() -> int:
    """Compile what is not compiled yet; return the exit status."""
    built = folder()
    if built.is_dir():
        return 0
    if shutil.which(os.environ.get("CC", "cc")) is None:
        return _fail("no C compiler (Debian: apt install gcc libc6-dev python3-dev)")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return _fail("no headers of this Python (Debian: apt install python3-dev)")
    started_s, output = time.monotonic(), io.StringIO()
    built.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent) as work:
        # What the compilers say goes to one place, shown only if they fail.
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            problem = _compile(Path(work))
        if problem:
            return _fail(f"{output.getvalue()}\n{problem}")
        (Path(work) / "lib").rename(built)
    for old in built.parent.iterdir():
        if old != built:
            shutil.rmtree(old, ignore_errors=True)
    sys.stderr.write(f"core compiled in {time.monotonic() - started_s:.0f} s\n")
    return 0


def _fail(problem: str) -> int:
    sys.stderr.write(f"{problem}\n")
    return 3


def _compile(work: Path) -> str:
    """Write the modules under ``work/lib``; return what went wrong, if anything did."""
    os.chdir(ROOT)
    try:
        extensions = mypycify(
            [f"--cache-dir={work / 'cache'}", *(str(path.relative_to(ROOT)) for path in sources())],
            opt_level="2",
            debug_level="0",
            target_dir=str(work / "c"),
            group_name="siyu_core",
        )
        setup(
            name="siyu-core",
            packages=[],
            ext_modules=extensions,
            script_args=[
                "-q",
                "build_ext",
                f"--build-lib={work / 'lib'}",
                f"--build-temp={work / 'temp'}",
            ],
        )
    except SystemExit as ended:
        return f"the compiler ended: {ended}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
