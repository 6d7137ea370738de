"""``siyu worker`` whose engine raises on every event named ``exploded``, after folding it."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from schemas.settings import Settings
from streams.commands import log
from streams.core.engine import Engine
from streams.runtime.app import new_worker

_fold = Engine.on_event


def _raise_on_exploded(engine: Engine, state: Any, event: Any) -> Any:  # noqa: ANN401 - passed on
    effects = _fold(engine, state, event)
    if event.event == "exploded":
        raise RuntimeError("exploded")
    return effects


if __name__ == "__main__":
    log.configure()
    Engine.on_event = _raise_on_exploded  # type: ignore[method-assign,assignment] # sown
    new_worker(Settings()).run()
