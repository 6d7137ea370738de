"""Faults of what authors write: where in a file, what is wrong, and what to do instead."""

import difflib
from collections.abc import Iterable

# The way to a value from the root of a file: keys of mappings and positions in lists.
Place = tuple[str | int, ...]


class Fault(Exception):
    """A wrong part of a file: where in it, what, and what to do instead."""

    def __init__(self, place: Place, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.place, self.problem, self.hint = place, problem, hint

    def within(self, place: Place) -> "Fault":
        """Return the same fault of a part that stands at ``place``."""
        return Fault((*place, *self.place), self.problem, self.hint)


def suggest(word: str, words: Iterable[str]) -> str:
    """Return a "did you mean" for a misspelt word, or nothing."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else ""
