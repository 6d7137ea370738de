"""An engine for tests of rules: some tags have the value that the test says."""

from streams.core.engine import Engine
from streams.core.rulebook import Rulebook
from streams.core.state.user import State


class Given(Engine):
    """The engine, with tags that a test sets by hand: ``given``, by id."""

    def __init__(self, rulebook: Rulebook) -> None:
        super().__init__(rulebook)
        self.given: dict[str, object] = {}

    def read_tag(self, state: State, tag: str, at_ms: int) -> object:
        """Return the value of a tag at a time, the given one if there is one."""
        return self.given[tag] if tag in self.given else super().read_tag(state, tag, at_ms)
