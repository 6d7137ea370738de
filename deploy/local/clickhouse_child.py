"""Runs ClickHouse out of libchdb: `clickhouse_child.py LIBRARY clickhouse-local's arguments`.

SIGTERM cancels the query that keeps it serving, so that the engine closes its tables itself; if
anyone else cancels that query the engine is started again in the same process id.
"""

import ctypes
import http.client
import os
import signal
import sys
import threading
from typing import Final

_CANCEL: Final = b"KILL QUERY WHERE query LIKE 'SELECT sleepEachRow(1) FROM system.numbers%' ASYNC"
_CLOSE_WITHIN_S: Final = 10.0


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


def main() -> None:
    """Serve until SIGTERM."""
    library, *arguments = sys.argv[1:]
    http_port = int(arguments[arguments.index("--http_port") + 1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    engine = threading.Thread(target=serve, args=(library, arguments), daemon=True)
    engine.start()
    served_s = 0.0
    while engine.is_alive() and not stop.is_set():
        stop.wait(1.0)
        served_s += 1.0
    if stop.is_set():
        try:
            cancel(http_port)
            engine.join(_CLOSE_WITHIN_S)
        except OSError as error:  # it was not serving yet: nothing to close
            sys.stderr.write(f"stopped while starting: {error}\n")
        os._exit(0)
    # An engine that ends at once cannot serve (a port, the disk): say so instead of trying on.
    if served_s < _CLOSE_WITHIN_S:
        os._exit(1)
    sys.stderr.write("the keeper query was cancelled; serving again\n")
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
