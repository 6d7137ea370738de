"""An engine for tests of rules: a test fixes the values of some tags."""

from streams.core.engine import Engine
from streams.core.rulebook import Rulebook
from streams.core.state.user import State


class FixedTags(Engine):
    """The engine, with tags that a test sets by hand: ``values``, by id."""

    def __init__(self, rulebook: Rulebook) -> None:
        super().__init__(rulebook)
        self.values: dict[str, object] = {}

    def read_tag(self, state: State, tag: str, at_ms: int) -> object:
        """Return the value of a tag at a time, the fixed one if there is one."""
        return self.values[tag] if tag in self.values else super().read_tag(state, tag, at_ms)
