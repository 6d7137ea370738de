"""The rulebook as a value: all tags and rules, checked against each other, and versions of them."""

import hashlib
from dataclasses import dataclass

import msgspec

from schemas.authoring import Authored
from schemas.policies import Policies
from schemas.rules import Rule
from schemas.tags import Tag

_json = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All tags and rules, in the order of files and of their places in them.

    ``versions`` holds for each rule a hash of its definition (status and description
    aside); ``version`` one of everything.
    """

    tags: tuple[Tag, ...]
    rules: tuple[Rule, ...]
    policies: Policies
    versions: dict[str, str]
    version: str


def rulebook_of(tags: tuple[Tag, ...], rules: tuple[Rule, ...], policies: Policies) -> Rulebook:
    """Return the rulebook of these parts, with its versions."""
    definitions = [_definition(part) for part in (*tags, *rules, policies)]
    versions = {rule.id: _hash(_definition(rule)) for rule in rules}
    return Rulebook(tags, rules, policies, versions, _hash(definitions))


def tag_version(tag: Tag) -> str:
    """Return the hash of a tag's definition: it differs wherever values may differ."""
    return _hash(_definition(tag))


def _definition(part: Authored) -> dict[str, object]:
    # Defaults are left out, so that a key that a later release adds moves no version.
    aside = {"status", "description", "layer"}
    return part.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=aside)


def _hash(definition: object) -> str:
    return hashlib.blake2b(_json(definition), digest_size=4).hexdigest()
