"""Reports of rules for people: tables, one line for each decision, its trace under it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from streams.terminal import print_rows

_COLOURS = {
    "sent": "green",
    "converted": "green",
    "held": "yellow",
    "holdout": "cyan",
    "suppressed": "red",
    "exited": "magenta",
}


def show_backtest(report: Mapping[str, Any], console: Console) -> None:
    """Print a backtest's report."""
    asked = report["backtest"]
    console.print(
        f"rulebook {asked['rulebook']} over {report['events']:,} events of {report['users']:,} "
        f"users, decisions from {moment(asked['from_ms'])} to {moment(asked['to_ms'])}: "
        f"{report['seconds']:g} s, {report['events_per_s']:,} events/s"
    )
    columns = ["rule", "status", "would fire", "reach", "holdout", "suppressed by", "converted"]
    rows = []
    for rule, figures in report["rules"].items():
        by = ", ".join(f"{reason} {n:,}" for reason, n in figures["suppressed_by"].items())
        won = figures["conversions"]
        rows.append(
            [
                rule,
                figures["status"],
                f"{figures['would_fire']:,}",
                f"{figures['reach']:,}",
                f"{figures['holdout']:,}",
                by,
                f"{won['reached']:,} (holdout {won['holdout']:,})",
            ]
        )
    print_rows(console, columns, rows)
    for figures in report["rules"].values():
        for sample in figures["samples"]:
            show_decision(sample, console)
    if live := report.get("live"):
        verdict = "[green]live equals backtest[/]" if live["equal"] else "[red]live differs[/]"
        console.print(
            f"{verdict}: {live['both']:,} decisions in both, {live['only_live']:,} only live, "
            f"{live['only_backtest']:,} only here, {live['other_outcome']:,} with another outcome"
        )
        for sample in live["samples"]:
            console.print(f"  {sample}", markup=False)
    if report["unfoldable"]:
        problems = "; ".join(report["unfoldable_samples"])
        count = report["unfoldable"]
        console.print(
            f"{count} events could not be folded and were left out: {problems}", markup=False
        )


def show_diff(report: Mapping[str, Any], console: Console) -> None:
    """Print what another rulebook would change."""
    old, new = report["diff"]["old"], report["diff"]["new"]
    console.print(
        f"{old['name']} ({old['rulebook']}) against {new['name']} ({new['rulebook']}) "
        f"over {report['events']:,} events of {report['users']:,} users"
    )
    columns = ["rule", "", "fires old", "fires new", "reach old", "reach new", "gain", "lose"]
    rows = []
    for rule, figures in report["rules"].items():
        cells = [figures[k] for k in ("fires_old", "fires_new", "reach_old", "reach_new")]
        counts = [f"{count:,}" for count in (*cells, figures["gain"], figures["lose"])]
        rows.append([rule, figures["change"], *counts])
    print_rows(console, columns, rows)
    for rule, figures in report["rules"].items():
        for kind in ("gains", "loses"):
            for sample in figures[kind]:
                console.print(f"[bold]{escape(sample['user'])}[/] {kind} {rule}")
                for side in ("old", "new"):
                    if sample[side] is None:
                        console.print(f"  {side}: no decision")
                    else:
                        console.print(f"  {side}:", end=" ")
                        show_decision(sample[side], console)


def show_explained(report: Mapping[str, Any], console: Console) -> None:
    """Print why a user did, or did not, get touches."""
    asked = report["explain"]
    console.print(
        f"{asked['user']}: {report['events']} events, {len(report['decisions'])} "
        f"decisions until {moment(asked['to_ms'])}; rulebook {asked['rulebook']} "
        f"({asked['rulebook_from']})",
        markup=False,
    )
    if not report["events"]:
        known = ", ".join(report["known_as"])
        hint = f"; the identifier stands in events of {known}"
        hint = hint if known else ": did they arrive? `siyu tail --user`, `siyu rejected list`"
        console.print(f"no event of this user is in ClickHouse{hint}", markup=False)
    for decision in report["decisions"]:
        show_decision(decision, console)
    for silence in report["silent"]:
        console.print(f"[bold]{silence['rule']}[/] ({silence['status']}): no decision")
        for reason in silence["why"]:
            console.print(f"    {escape(reason)}")
        _show_trace(silence["trace"], console)


def show_status(report: Mapping[str, Any], console: Console) -> None:
    """Print versions, partitions and rules."""
    console.print(f"in force: {report['in_force']} ({report['from']})", markup=False)
    for pushed in report["versions"]:
        line = f"  {pushed['version']} pushed {moment(pushed['pushed_at_ms'])} {pushed['note']}"
        console.print(line, markup=False)
    for applied in report["partitions"]:
        behind = "" if applied["version"] == report["in_force"] else "  (not the one in force)"
        console.print(
            f"partition {applied['partition']}: {applied['version']} from offset "
            f"{applied['from_offset']}, {applied['worker']}, {moment(applied['applied_at_ms'])}"
            f"{behind}",
            markup=False,
        )
    for refused in report["refused"]:
        console.print(
            f"[red]refused[/] by {refused['worker']}: {refused['version']}: "
            f"{escape(refused['problem'])}"
        )
    outcomes = ("sent", "held", "suppressed", "exited", "holdout", "converted")
    rows = []
    for rule, figures in report["rules"].items():
        counts = figures["last_day"]
        cells = [str(counts.get(name, 0)) if counts is not None else "?" for name in outcomes]
        rows.append([rule, figures["status"], figures["version"], *cells])
    columns = ["rule", "status", "version", *outcomes]
    print_rows(console, columns, rows, title="decisions of the last day")


def show_decision(decision: Mapping[str, Any], console: Console) -> None:
    """Print one decision: a line, and under it what each condition saw."""
    outcome = decision["outcome"]
    colour = _COLOURS.get(outcome, "white")
    more = f" {decision['variant']}" if decision.get("variant") else ""
    console.print(
        f"{moment(decision['time_ms'])} [bold]{decision['rule']}[/] [{colour}]{outcome}[/]"
        f" ({escape(str(decision['reason']))}){escape(more)} {escape(decision['user'])}"
        f" [dim]by {escape(decision['trigger'])}[/]"
    )
    _show_trace(decision["trace"], console)
    for receipt in decision.get("receipts", ()):
        console.print(
            f"    → {receipt['channel']} {receipt['status']} {moment(receipt['time_ms'])}"
            f" {escape(receipt['code'])} {escape(receipt['detail'])}".rstrip()
        )


def _show_trace(trace: Sequence[Mapping[str, Any]], console: Console) -> None:
    for step in trace:
        mark = "[green]✓[/]" if step.get("ok") else "[red]✗[/]"
        against = f" against {escape(repr(step['to']))}" if "to" in step else ""
        seen = escape(repr(step.get("value")))
        console.print(f"    {mark} {escape(str(step.get('if')))}: {seen}{against}")


def moment(time_ms: int) -> str:
    """Return a time as people read it, in UTC."""
    if not time_ms:
        return "the beginning"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
