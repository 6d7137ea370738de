"""`siyu tags bounds`: quantiles of a tag over all users, fed back as a file of the rulebook.

The bounds are part of the rulebook's version, so a replay under it gives the same tiers. A
user counts with the value that was last written; who has none does not count.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import yaml

from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from sinks.clickhouse.history import ask
from streams.core.rulebook import Rulebook
from streams.core.tags.kinds.value_tier_spec import Bounds, ValueTierTag

FILE: Final = "bounds.yaml"
_HEAD: Final = """\
# Written by `siyu tags bounds`, which replaces it: from which value on a user is high, middle.
"""
_QUANTILES: Final = """
SELECT quantilesExact(%s, %s)(value), count()
FROM (
    SELECT user, argMax(after, _offset) AS last,
        toFloat64OrNull(if(empty({part:String}), last, JSONExtractRaw(last, {part:String})))
            AS value
    FROM tag_changes WHERE tag = {tag:String} GROUP BY user
) WHERE value IS NOT NULL
"""


def compute(settings: Settings, rulebook: Rulebook) -> dict[str, Bounds]:
    """Return the bounds of each tag with quantiles; raises ``ConfigInvalid`` where none has one."""
    bounds: dict[str, Bounds] = {}
    at = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
    for tag in rulebook.tags:
        if not isinstance(tag, ValueTierTag) or tag.quantiles is None:
            continue
        _, name, *part = tag.of.split(".")
        # Parameters of an aggregate must be literals.
        query = _QUANTILES % (repr(tag.quantiles.high), repr(tag.quantiles.middle))
        ((values, users),) = ask(settings.clickhouse, query, tag=name, part=".".join(part))
        if not users:
            raise ConfigInvalid(
                f"tag {tag.id}", f"no user has a number in {tag.of} yet", hint="has it landed?"
            )
        high, middle = (round(value, 4) for value in values)
        bounds[tag.id] = Bounds(high=high, middle=middle, at=at, users=users)
    return bounds


def write(folder: Path, bounds: dict[str, Bounds]) -> Path:
    """Write the file of bounds beside the rulebook, wholly or not at all; return its path."""
    if folder.is_file():
        hint = "keep the rulebook as a folder, or write the bounds into the tag"
        raise ConfigInvalid(folder, "the rulebook is one file: no place for bounds", hint=hint)
    path = folder / FILE
    content = {"bounds": {tag: bound.model_dump() for tag, bound in bounds.items()}}
    half = path.with_suffix(".half")
    half.write_text(_HEAD + yaml.safe_dump(content, sort_keys=False), "utf-8")
    half.replace(path)
    return path
