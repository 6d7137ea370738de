"""Compare a backtest with the decisions that were made live: the same set, or the differences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.settings import Settings
from sinks.clickhouse.history import ask
from streams.commands.rules.tally import Said

# A decision this young may still be on its way into ClickHouse.
_ON_ITS_WAY_MS: Final = 10_000
_SAMPLES: Final = 10
_MADE: Final = """
SELECT decision_id, rule, outcome, reason, toUnixTimestamp64Milli(_logged_at) FROM decisions
WHERE time >= fromUnixTimestamp64Milli({from:Int64})
    AND _logged_at < fromUnixTimestamp64Milli({to:Int64})
    AND ({rule:String} = '' OR rule = {rule:String})
ORDER BY _partition, _offset
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Which time is asked about, epoch ms: decisions of it count, all before warms up."""

    from_ms: int
    until_ms: int


def compare(
    settings: Settings, replayed: Mapping[str, Said], span: Span, rule: str | None
) -> dict[str, Any]:
    """Return how the decisions of a replay differ from those in ClickHouse, by their ids.

    What was said within ten seconds before the end counts only where both have it.
    """
    bounds = {"from": span.from_ms, "to": span.until_ms}
    rows = ask(settings.clickhouse, _MADE, rule=rule or "", **bounds)
    live = {row[0]: Said(*row[1:]) for row in rows}
    here = {
        decision_id: said for decision_id, said in replayed.items() if rule in (None, said.rule)
    }
    last_ms = span.until_ms - _ON_ITS_WAY_MS
    only_live = [
        decision_id
        for decision_id in live.keys() - here.keys()
        if live[decision_id].at_ms < last_ms
    ]
    only_here = [
        decision_id
        for decision_id in here.keys() - live.keys()
        if here[decision_id].at_ms < last_ms
    ]
    both = live.keys() & here.keys()
    other = [decision_id for decision_id in both if live[decision_id][:3] != here[decision_id][:3]]
    groups: list[tuple[str, list[str]]] = [
        ("only live", only_live),
        ("only backtest", only_here),
        ("other outcome", other),
    ]
    return {
        "equal": not (only_live or only_here or other),
        "both": len(both),
        "only_live": len(only_live),
        "only_backtest": len(only_here),
        "other_outcome": len(other),
        "samples": [
            {
                "what": what,
                "decision_id": decision_id,
                "live": _said_as_json(live.get(decision_id)),
                "backtest": _said_as_json(here.get(decision_id)),
            }
            for what, ids in groups
            for decision_id in sorted(ids)[:_SAMPLES]
        ],
    }


def _said_as_json(said: Said | None) -> dict[str, Any] | None:
    return said._asdict() if said else None
