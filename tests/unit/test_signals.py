import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from schemas.signals import on_stop_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_a_signal_asks_the_process_to_stop(number: signal.Signals) -> None:
    async def serve() -> bool:
        stop = asyncio.Event()
        on_stop_signals(stop.set)
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            return await stop.wait()

    assert asyncio.run(serve())


def test_in_a_thread_signals_stay_the_embedding_program_s() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def serve() -> None:
        on_stop_signals(lambda: None)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(serve())).result()
    assert signal.getsignal(signal.SIGTERM) == before
