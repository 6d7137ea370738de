"""A rulebook without the tags that no rule reads: the same decisions for less work.

What a rule reads is found in its text, by any word that is the id of a tag: too many are
kept rather than too few.
"""

import json
import re
from dataclasses import replace
from typing import Final

from schemas.authoring import Authored
from streams.core.rulebook import Rulebook

_WORD: Final = re.compile(r"[a-z][a-z0-9_]*")


def without_unread_tags(rulebook: Rulebook) -> Rulebook:
    """Return the rulebook with only those tags that its rules, or the tags they read, name."""
    words_of = {tag.id: _words(tag) for tag in rulebook.tags}
    wanted = set[str]()
    found = set[str]().union(_words(rulebook.policies), *map(_words, rulebook.rules))
    while new := (found & words_of.keys()) - wanted:
        wanted |= new
        found = set[str]().union(*(words_of[tag] for tag in new))
    return replace(rulebook, tags=tuple(tag for tag in rulebook.tags if tag.id in wanted))


def _words(part: Authored) -> set[str]:
    return set(_WORD.findall(json.dumps(part.model_dump(mode="json", by_alias=True))))
