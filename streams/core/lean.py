"""An engine for decisions alone: without what no rule reads, the same for less work.

What a rule reads is found in its text, by any word that is the id of a tag: too many are
kept rather than too few.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from schemas.authoring import Authored
from streams.core.engine import Engine
from streams.core.rulebook import Rulebook

_WORD: Final = re.compile(r"[a-z][a-z0-9_]*")


def decider(rulebook: Rulebook, *, settle_ms: int = 3000) -> Engine:
    """Return an engine that decides as the whole rulebook's does; its tag changes are not all."""
    lean = without_unread_tags(rulebook)
    waited: dict[str, set[str]] = {}
    for path in _waited(lean):
        tag, _, part = path.partition(".")
        waited.setdefault(tag, set()).add(part)
    for tag in _with_inputs(lean, set(waited)) - waited.keys():
        waited[tag] = {""}
    return Engine(lean, settle_ms=settle_ms, waited=waited)


def _waited(rulebook: Rulebook) -> Iterator[str]:
    """Yield the paths of tags for whose change a rule waits."""
    for rule in rulebook.rules:
        if rule.trigger.tag is not None:
            yield rule.trigger.tag.id
        elif rule.trigger.date is not None:
            root, _, path = (rule.trigger.date.birthday or "").partition(".")
            if root == "tag":
                yield path


def without_unread_tags(rulebook: Rulebook) -> Rulebook:
    """Return the rulebook with only those tags that its rules, or the tags they read, name."""
    read = set[str]().union(_words(rulebook.policies), *map(_words, rulebook.rules))
    wanted = _with_inputs(rulebook, read)
    return replace(rulebook, tags=tuple(tag for tag in rulebook.tags if tag.id in wanted))


def _with_inputs(rulebook: Rulebook, words: set[str]) -> set[str]:
    """Return the tags among some words, and all tags that they are made of."""
    words_of = {tag.id: _words(tag) for tag in rulebook.tags}
    wanted = set[str]()
    while new := (words & words_of.keys()) - wanted:
        wanted |= new
        words = set[str]().union(*(words_of[tag] for tag in new))
    return wanted


def _words(part: Authored) -> set[str]:
    return set(_WORD.findall(json.dumps(part.model_dump(mode="json", by_alias=True))))
