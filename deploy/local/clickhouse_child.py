"""Runs ClickHouse out of libchdb: `clickhouse_child.py LIBRARY clickhouse-local's arguments`.

The engine is a process of its own below this one, which starts it again when it ends:
libchdb aborts if a client's connection is reset while idle (a client killed by -9), and
the query that keeps it serving can be cancelled. SIGTERM cancels that query, so that the
engine closes its tables itself. The engine dies with this process.
"""

import ctypes
import fcntl
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

_CANCEL: Final = b"KILL QUERY WHERE query LIKE 'SELECT sleepEachRow(1) FROM system.numbers%' ASYNC"
_CLOSE_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.2
_ENGINE: Final = "--engine-of"
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG


def serve(library: str, arguments: list[str]) -> None:
    """Run clickhouse-local to the end of its last query."""
    run = ctypes.CDLL(library).chdb_query_cmdline
    run.restype = ctypes.c_void_p
    run.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    argv = [b"clickhouse", *(argument.encode() for argument in arguments)]
    run(len(argv), (ctypes.c_char_p * len(argv))(*argv))


def cancel(http_port: int) -> None:
    """Cancel the query that keeps the engine serving."""
    engine = http.client.HTTPConnection("127.0.0.1", http_port, timeout=5)
    engine.request("POST", "/", _CANCEL)
    engine.getresponse().read()
    engine.close()


def be_engine(parent: int, library: str, arguments: list[str]) -> None:
    """Serve until the last query ends or the parent does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    # The engine of a killed predecessor may need a moment to let go of the data.
    data = Path(arguments[arguments.index("--path") + 1])
    data.mkdir(parents=True, exist_ok=True)
    with (data.parent / "engine.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine = threading.Thread(target=serve, args=(library, arguments), daemon=True)
        engine.start()
        while engine.is_alive() and os.getppid() == parent:
            engine.join(_POLL_S)
        os._exit(0)


def main() -> None:
    """Serve until SIGTERM."""
    arguments = sys.argv[1:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while True:
        started_s = time.monotonic()
        engine = subprocess.Popen([sys.executable, __file__, _ENGINE, str(os.getpid()), *arguments])
        while engine.poll() is None and not stop.is_set():
            stop.wait(_POLL_S)
        if stop.is_set():
            end(engine, int(arguments[arguments.index("--http_port") + 1]))
            os._exit(0)
        served_s = time.monotonic() - started_s
        # An engine that ends by itself at once cannot serve (a port, the disk): say so.
        if engine.returncode >= 0 and served_s < _CLOSE_WITHIN_S:
            os._exit(1)
        sys.stderr.write(f"the engine ended ({engine.returncode}); serving again\n")
        sys.stderr.flush()


def end(engine: subprocess.Popen[bytes], http_port: int) -> None:
    """Let the engine close its tables; end it in any case."""
    try:
        cancel(http_port)
        engine.wait(_CLOSE_WITHIN_S)
    except (OSError, subprocess.TimeoutExpired) as error:  # not serving yet, or stuck
        sys.stderr.write(f"stopped by force: {error}\n")
        engine.kill()
        engine.wait()


if __name__ == "__main__":
    if sys.argv[1] == _ENGINE:
        be_engine(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    main()
