"""`siyu rules status`: versions, which partition runs which, and what each rule decided."""

import asyncio
from typing import Any, Final

from schemas.errors import ConfigInvalid, PartMissing
from schemas.rulebooks import read_files, version_of
from schemas.settings import Settings
from sinks.clickhouse.history import ask
from streams.authoring.load import load_rulebook
from streams.authoring.plan import load_plan
from streams.core.rulebook import Rulebook
from streams.runtime.rulebooks.published import Published, read_published
from streams.runtime.rulebooks.sources import keep_copy

_COUNTS: Final = """
SELECT rule, outcome, count() FROM decisions
WHERE _logged_at > now64(3) - INTERVAL 1 DAY GROUP BY rule, outcome ORDER BY rule, outcome
"""


def status(settings: Settings) -> dict[str, Any]:
    """Return the report; counts are ``None`` where ClickHouse does not answer.

    Raises ``PartMissing`` where the broker does not.
    """
    published = asyncio.run(read_published(settings))
    rulebook, version, origin = _in_force(settings, published)
    counts = _counts(settings)
    statuses = {rule.id: rule.status for rule in rulebook.rules} if rulebook else {}
    versions = rulebook.versions if rulebook else {}
    rules = {
        rule: {
            "status": statuses.get(rule, "not in the rulebook"),
            "version": versions.get(rule, ""),
            "last_day": counts.get(rule, {}) if counts is not None else None,
        }
        for rule in dict.fromkeys([*statuses, *(counts or {})])
    }
    return {
        "in_force": version,
        "from": origin,
        "versions": [
            {"version": pushed.version, "pushed_at_ms": pushed.pushed_at_ms, "note": pushed.note}
            for pushed in reversed(published.pushed)
        ],
        "partitions": [
            {
                "partition": applied.partition,
                "version": applied.version,
                "from_offset": applied.from_offset,
                "worker": applied.worker,
                "applied_at_ms": applied.applied_at_ms,
            }
            for _, applied in sorted(published.applied.items())
        ],
        "refused": [
            {
                "worker": refused.worker,
                "version": refused.version,
                "problem": refused.problem,
                "refused_at_ms": refused.refused_at_ms,
            }
            for refused in published.refused.values()
        ],
        "everywhere": not published.refused
        and all(applied.version == version for applied in published.applied.values()),
        "rules": rules,
    }


def _in_force(settings: Settings, published: Published) -> tuple[Rulebook | None, str, str]:
    newest = published.newest
    folder = keep_copy(newest.files) if newest else settings.rulebook
    version = newest.version if newest else version_of(read_files(folder))
    try:
        rulebook = load_rulebook(folder, load_plan(settings.plan))
    except ConfigInvalid:
        rulebook = None
    return rulebook, version, "pushed" if newest else str(folder)


def _counts(settings: Settings) -> dict[str, dict[str, int]] | None:
    counts: dict[str, dict[str, int]] = {}
    try:
        rows = ask(settings.clickhouse, _COUNTS)
    except PartMissing:
        return None
    for rule, outcome, n in rows:
        counts.setdefault(rule, {})[outcome] = n
    return counts
