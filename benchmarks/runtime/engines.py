"""The engines of the bench: one row each, run in a process of its own."""

import json
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.runtime.meter import Run
from schemas.errors import SiyuError
from schemas.settings import ROOT

_STOP_TIMEOUT_S: Final = 60.0
# A healthy engine tells of progress twice a second; joining its group may take a while.
_SILENT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Engine:
    """One row: which program, which validator, whether its state outlives it.

    ``leaves``: it ends by itself after the last event; the others want a SIGTERM.
    """

    name: str
    program: str
    package: str
    validate: str = "pydantic"
    stateful: bool = True
    own_venv: bool = False
    slow: bool = False
    leaves: bool = False


ENGINES: Final = {
    engine.name: engine
    for engine in (
        Engine("siyu", "siyu", "faust-streaming"),
        Engine("siyu-msgspec", "siyu", "faust-streaming", validate="msgspec"),
        Engine("faust", "faust", "faust-streaming", slow=True),
        Engine("quix", "quix", "quixstreams", own_venv=True),
        Engine("bytewax", "bytewax", "bytewax", own_venv=True, leaves=True),
        Engine("aiokafka", "aiokafka", "aiokafka", stateful=False, leaves=True),
        Engine(
            "confluent", "confluent", "confluent-kafka", stateful=False, own_venv=True, leaves=True
        ),
    )
}
PEERS: Final = tuple(name for name in ENGINES if not name.startswith("siyu"))


class EngineFailed(SiyuError):
    """An engine ended before it had done the job, or did not end when told to."""

    def __init__(self, name: str, problem: str, log: str) -> None:
        super().__init__(f"{name}: {problem}; the end of its log:\n{log}")


def versions(python: Path, package: str) -> dict[str, str]:
    """Return the versions that a Python has of an engine's package and of the validators."""
    code = (
        "import json, sys; from importlib.metadata import version; "
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    told = subprocess.run(
        [str(python), "-c", code, package, "pydantic", "msgspec"],
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, str] = json.loads(told.stdout)
    return found


def execute(engine: Engine, python: Path, run: Run, told: Callable[[int], None]) -> dict[str, Any]:
    """Run one engine over all events, stop it, return its ``done`` line."""
    command = [str(python), "-m", f"benchmarks.runtime.on_{engine.program}"]
    # The engine's log goes to a file: a full pipe would stop it, a terminal slow it down.
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(
            [*command, json.dumps(asdict(run))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            done = _follow(child, told)
            _stop(child, leaves=engine.leaves)
        except subprocess.TimeoutExpired:
            done = None
        finally:
            child.kill()
            child.wait()
        if done is None:
            log.seek(0)
            raise EngineFailed(engine.name, f"ended with {child.returncode}", log.read()[-2000:])
    return done


def _follow(child: subprocess.Popen[str], told: Callable[[int], None]) -> dict[str, Any] | None:
    at = 0
    for line in _lines(child):
        message = json.loads(line[line.index("{") :])
        now = message.get("at", message.get("done"))
        told(now - at)
        at = now
        if "done" in message:
            found: dict[str, Any] = message
            return found
    return None


def _lines(child: subprocess.Popen[str]) -> Iterator[str]:
    watchdog = threading.Timer(_SILENT_S, child.kill)
    watchdog.start()
    try:
        for line in child.stdout or ():
            # Faust prints codes of the terminal before ours.
            if "{" in line:
                watchdog.cancel()
                watchdog = threading.Timer(_SILENT_S, child.kill)
                watchdog.start()
                yield line
    finally:
        watchdog.cancel()


def _stop(child: subprocess.Popen[str], *, leaves: bool) -> None:
    if not leaves and child.poll() is None:
        child.send_signal(signal.SIGTERM)
    child.communicate(timeout=_STOP_TIMEOUT_S)
