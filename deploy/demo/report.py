"""The demo's report: one JSON object, or the same on a terminal."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from deploy.demo.check import Counts
from deploy.demo.senders import Tally
from schemas.settings import Settings
from schemas.sources import Sources
from sinks.clickhouse.client import connect
from sinks.clickhouse.query import run_query
from streams.terminal import print_rows

# What the report calls an answer, and the query under sinks/clickhouse/bi that gives it.
BI: Final = {
    "funnel": "funnel",
    "active_users_by_source": "active_users",
    "touches_by_rule": "touches_by_rule",
    "revenue_by_first_channel": "revenue_by_first_channel",
}
# For each rule the latest decision of each outcome, with what became of it.
_SAMPLES: Final = """
SELECT d.rule, d.outcome, d.user, d.reason, d.trigger_kind, d.trigger, d.tags, d.trace,
       r.channel, r.status
FROM (SELECT * FROM decisions ORDER BY time DESC, decision_id LIMIT 1 BY rule, outcome) AS d
LEFT JOIN receipts AS r ON r.touch_id = d.touch_id AND d.touch_id != ''
ORDER BY d.rule, d.outcome
"""
_USERS: Final = """
SELECT user FROM tag_changes GROUP BY user ORDER BY uniqExact(tag) DESC, user LIMIT 3
"""
_TAGS: Final = """
SELECT tag, argMax(after, (_partition, _offset)) AS value FROM tag_changes
WHERE user = %(user)s GROUP BY tag HAVING value != 'null' ORDER BY tag
"""

_HINTS: Final = """
All runs on. Send a cart of 29 min 50 s ago (on macOS: date -u -v-1790S +%FT%TZ):

  curl -sS {url}/v1/track -u {key}: -d '{{"userId": "me", "event": "cart_added",
    "messageId": "'$(date +%s%N)'", "timestamp": "'$(date -u -d '1790 seconds ago' +%FT%TZ)'",
    "properties": {{"cart_id": "c1", "sku": "skincare-01", "amount": 128}}}}'

Its row, and some ten seconds later what the rule decided and what the provider was sent:

  curl -sS '{http}/?database=siyu' --data-binary \\
    "SELECT event, timestamp, properties FROM events WHERE user = 'user_id:me' FORMAT Vertical"
  curl -sS '{http}/?database=siyu' --data-binary \\
    "SELECT rule, outcome, reason, trace FROM decisions WHERE user = 'user_id:me' FORMAT Vertical"
  tail -n 1 {at}/webhook-calls.jsonl

Look around, and end it:

  SIYU_HOME={at} ./siyu status
  SIYU_HOME={at} ./siyu logs worker
  SIYU_HOME={at} ./siyu down
"""


def build(
    settings: Settings, counts: Counts, tally: Tally, checks: dict[str, bool]
) -> dict[str, Any]:
    """Return the report, but for what only the run knows (stack, seconds)."""
    client = connect(settings.clickhouse)
    try:
        users = [
            {"user": user, "tags": _tags(client.execute(_TAGS, {"user": user}))}
            for (user,) in client.execute(_USERS)
        ]
        touches = _touches(counts, client.execute(_SAMPLES))
    finally:
        client.disconnect()
    return {
        "ok": all(checks.values()),
        "accepted": tally.accepted,
        "landed": counts.landed,
        "rejected": counts.rejected,
        "rejected_by_reason": [
            {"stage": stage, "reason": reason, "rows": rows}
            for (stage, reason), rows in sorted(counts.rejects.items())
        ],
        "accepted_by_door": tally.by_door,
        "refused": tally.refused,
        "redelivered": counts.redelivered,
        "touches": touches,
        "delivered": {
            f"{channel} {status}": number
            for (channel, status), number in sorted(counts.receipt_status.items())
        },
        "users": users,
        "bi": {answer: run_query(settings, name, {}) for answer, name in BI.items()},
        "checks": checks,
    }


def as_json(outcome: dict[str, Any]) -> str:
    """Return the report as one line of JSON."""
    return json.dumps(outcome, ensure_ascii=False, default=_plain)


def _plain(value: object) -> float | str:
    return float(value) if isinstance(value, Decimal) else str(value)


def _tags(rows: list[tuple[str, str]]) -> dict[str, Any]:
    return {tag: json.loads(value) for tag, value in rows}


def _touches(counts: Counts, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Return by rule: how many decisions of each outcome, and one of each with its why."""
    by_rule: dict[str, Any] = {}
    for (rule, outcome), number in sorted(counts.decisions.items()):
        entry = by_rule.setdefault(rule, {"outcomes": {}, "samples": []})
        entry["outcomes"][outcome] = number
    for rule, outcome, user, why, kind, trigger, tags, trace, channel, status in rows:
        sample = {"user": user, "rule": rule, "outcome": outcome, "why": why}
        sample |= {"trigger_kind": kind, "trigger": trigger, "tags": json.loads(tags or "{}")}
        sample |= {"trace": json.loads(trace or "[]"), "channel": channel, "status": status}
        by_rule[rule]["samples"].append(sample)
    return by_rule


def show(outcome: dict[str, Any]) -> None:
    """Print the report for people on stdout."""
    console = Console(highlight=False)
    stack = outcome["stack"]
    parts = ", ".join(f"{stack[part]['name']} {stack[part]['version']}" for part in stack)
    console.rule(f"a day of three sources on {parts}")
    console.print(
        f"[bold]accepted {outcome['accepted']:,}[/] = landed {outcome['landed']:,}"
        f" + rejected {outcome['rejected']:,}   (refused at the door: {outcome['refused']},"
        f" stored twice and collapsed: {outcome['redelivered']})"
    )
    _table(
        console,
        "rejected, each kept with its bytes",
        ["stage", "reason", "rows"],
        [list(row.values()) for row in outcome["rejected_by_reason"]],
    )
    console.print("\n[bold]three users with their tags[/]")
    for user in outcome["users"]:
        tags = ", ".join(f"{tag}={value}" for tag, value in user["tags"].items())
        _print_under(console, f"{user['user']}  {tags}", 2)
    _show_touches(console, outcome["touches"])
    for answer, result in outcome["bi"].items():
        _table(console, answer.replace("_", " "), result["columns"], result["rows"])
    seconds = "  ".join(f"{phase} {value:g}" for phase, value in outcome["seconds"].items())
    console.print(f"seconds: {seconds}")
    for died, times in outcome["restarts"].items():
        console.print(f"{died} died and was started again {times} time(s)")
    for name, holds in outcome["checks"].items():
        console.print(f"{'[green]holds[/]' if holds else '[red]FAILS[/]'}  {name}")


def _show_touches(console: Console, touches: dict[str, Any]) -> None:
    console.print("\n[bold]touches: what each rule decided, with an example and why[/]")
    for rule, entry in touches.items():
        console.print(f"  [bold]{escape(rule)}[/]")
        for sample in entry["samples"]:
            number = entry["outcomes"][sample["outcome"]]
            sent = f", {sample['channel']} says {sample['status']}" if sample["channel"] else ""
            looked = "; ".join(
                f"{step.get('if')}: {step.get('value')} {'yes' if step.get('ok') else 'no'}"
                for step in sample["trace"]
            )
            _print_under(console, f"{number:>4} {sample['outcome']:<10} {sample['user']}", 4)
            why = f"{sample['why']}{sent}, after {sample['trigger_kind']} of {sample['trigger']}"
            _print_under(console, f"{why}{f' [{looked}]' if looked else ''}", 9)


def _print_under(console: Console, text: str, indent: int) -> None:
    """Print text whose wrapped lines are indented like its first."""
    console.print(Padding(Text(text), (0, 0, 0, indent), expand=False))


def _table(console: Console, title: str, columns: list[str], rows: list[list[Any]]) -> None:
    rounded = [[_rounded(value) for value in row] for row in rows]
    print_rows(console, columns, rounded, title=title)


def _rounded(value: Any) -> Any:  # noqa: ANN401 - a cell of any query
    return f"{value:,.2f}" if isinstance(value, float) else value


def show_hints(console: Console, folder: Path, url: str, sources: Sources) -> None:
    """Print how to go on with a demo that was kept running."""
    here = Path.cwd()
    at = str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
    hints = _HINTS.format(
        url=url,
        key=next(key for key, sender in sources.write_keys.items() if sender.source == "app"),
        http=json.loads((folder / "stack.json").read_text())["clickhouse_http"],
        at=at,
    )
    console.print(hints, markup=False, soft_wrap=True)
