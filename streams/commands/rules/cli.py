"""`siyu rules …` and `siyu explain`: rules looked at over time."""

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from schemas import clock
from schemas.settings import Settings
from streams.commands.printing import Json, print_json

app = typer.Typer()
Start = Annotated[str, typer.Option("--from", help="A day or time; decisions from then on.")]
End = Annotated[str, typer.Option("--to", help="A day or time; what arrived before. Else: now.")]
Folder = Annotated[str, typer.Option("--rulebook", help="A folder, a pushed version, or a commit.")]
RuleId = Annotated[str, typer.Option("--rule", help="Only this rule.")]
Processes = Annotated[int, typer.Option("--processes", min=0, help="0: one for each core.")]


@app.command()
def backtest(
    *,
    start: Start = "",
    to: End = "",
    rulebook: Folder = "",
    rule: RuleId = "",
    live: Annotated[
        bool, typer.Option("--live", help="Compare with the decisions that were made; 1 if not.")
    ] = False,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Tell what the rulebook would have done with the events in ClickHouse."""
    from streams.commands.rules.backtest import backtest as run
    from streams.commands.rules.show import show_backtest
    from streams.runtime.rulebooks.sources import find_book

    settings = Settings()
    book = find_book(settings, rulebook or None)
    report = run(
        settings,
        book,
        _span(start, to),
        rule=rule or None,
        live=live,
        processes=processes or None,
        quiet=as_json,
    )
    print_json(report) if as_json else show_backtest(report, _console())
    raise typer.Exit(0 if report.get("live", {}).get("equal", True) else 1)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A folder, a pushed version, or a commit.")],
    new: Annotated[str, typer.Argument(help="Likewise; SIYU_RULEBOOK if not given.")] = "",
    *,
    start: Start = "",
    to: End = "",
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Tell who gains and who loses a touch between two rulebooks, over the same events."""
    from streams.commands.rules.diff import diff as run
    from streams.commands.rules.show import show_diff
    from streams.runtime.rulebooks.sources import find_book

    settings = Settings()
    books = find_book(settings, old), find_book(settings, new or None)
    report = run(settings, *books, _span(start, to), processes=processes or None, quiet=as_json)
    print_json(report) if as_json else show_diff(report, _console())


@app.command()
def push(
    folder: Annotated[Path | None, typer.Argument(help="SIYU_RULEBOOK if not given.")] = None,
    *,
    note: Annotated[str, typer.Option(help="Why; `siyu rules status` shows it.")] = "",
    untested: Annotated[bool, typer.Option("--untested", help="Do not run its tests.")] = False,
    as_json: Json = False,
) -> None:
    """Check a rulebook, run its tests, and give it to all workers, without a restart."""
    from streams.commands.rules.push import push as run

    settings = Settings()
    _print_push(run(settings, folder or settings.rulebook, note=note, tested=not untested), as_json)


@app.command()
def pause(
    rule: Annotated[str, typer.Argument(help="The id of a rule.")],
    *,
    note: Annotated[str, typer.Option(help="Why; `siyu rules status` shows it.")] = "",
    as_json: Json = False,
) -> None:
    """Stop one rule now: pushes the rulebook in force with the rule paused."""
    from streams.commands.rules.push import set_status

    _print_push(set_status(Settings(), rule, "paused", note=note), as_json)


@app.command()
def resume(
    rule: Annotated[str, typer.Argument(help="The id of a rule.")],
    *,
    note: Annotated[str, typer.Option(help="Why; `siyu rules status` shows it.")] = "",
    as_json: Json = False,
) -> None:
    """Let one rule go live: pushes the rulebook in force with the rule live."""
    from streams.commands.rules.push import set_status

    _print_push(set_status(Settings(), rule, "live", note=note), as_json)


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show the versions pushed, which partition runs which, and the last day of each rule."""
    from streams.commands.rules.show import show_status
    from streams.commands.rules.status import status as run

    report = run(Settings())
    print_json(report) if as_json else show_status(report, _console())


def explain(
    user: Annotated[str, typer.Argument(help="<kind>:<value>; without a kind, a user_id.")],
    *,
    rule: RuleId = "",
    start: Start = "",
    to: End = "",
    rulebook: Folder = "",
    as_json: Json = False,
) -> None:
    """Tell why a user did, or did not, get a touch."""
    from streams.commands.rules.explain import explain as run
    from streams.commands.rules.show import show_explained

    asked = {"rule": rule or None, "book": rulebook or None}
    report = run(Settings(), user, _span(start, to), **asked)
    print_json(report) if as_json else show_explained(report, _console())


def _print_push(pushed: Any, as_json: bool) -> None:  # noqa: ANN401 - a Push, whose module is imported on use
    if as_json:
        print_json(pushed.as_json())
        return
    same = pushed.replaced == pushed.version
    print(
        f"{pushed.version} is in force already"
        if same
        else f"pushed {pushed.version}, after {pushed.replaced or 'none'}"
    )
    for rule, change in pushed.changed.items():
        print(f"  {rule}: {change}")


def _span(start: str, to: str) -> Any:  # noqa: ANN401 - a Span, whose module is imported on use
    from streams.commands.rules.compare import Span

    until_ms = _moment_ms(to) if to else clock.now_ms()
    return Span(_moment_ms(start) if start else 0, until_ms)


def _moment_ms(text: str) -> int:
    """Return epoch ms of a day or time; without a zone it is the brand's, Asia/Shanghai."""
    try:
        moment = datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time: write 2026-11-01 or 2026-11-01T09:00+08:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo("Asia/Shanghai"))
    return round(moment.timestamp() * 1000)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
