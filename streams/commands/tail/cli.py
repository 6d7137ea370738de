"""`siyu tail`: the topics from their end, as people or programs read them."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from schemas.authoring import parse_duration_ms
from schemas.settings import Settings
from streams.commands.tail.follow import Wanted, headline

_COLOURS = {
    "event": "cyan",
    "rejected": "red",
    "tag": "magenta",
    "decision": "yellow",
    "touch": "green",
    "receipt": "bold green",
}


def tail(
    *,
    user: Annotated[str, typer.Option(help="user_id:me, or any identifier of theirs.")] = "",
    event: Annotated[str, typer.Option(help="An event's name, and what came of it.")] = "",
    rejected: Annotated[bool, typer.Option("--rejected", help="Rejects alone.")] = False,
    since: Annotated[str, typer.Option(help="Begin so long ago: 10m, 2h.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="End after so many; 0: never.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show live what arrives and what became of it; Ctrl-C ends it."""
    ago_ms = _ago_ms(since) if since else 0
    wanted = Wanted(user, event, rejected)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_print(Settings(), wanted, ago_ms=ago_ms, limit=limit, as_json=as_json))


async def _print(
    settings: Settings, wanted: Wanted, *, ago_ms: int, limit: int, as_json: bool
) -> None:
    from streams.commands.tail.live import follow

    console = Console(highlight=False, soft_wrap=True)
    shown = 0
    async with contextlib.aclosing(follow(settings, wanted, ago_ms=ago_ms)) as lines:
        async for line in lines:
            if as_json:
                print(json.dumps(line, ensure_ascii=False, default=str), flush=True)
            else:
                kind, who, what = headline(line)
                at = datetime.fromtimestamp(line["logged_at_ms"] / 1000, UTC).astimezone()
                colour = _COLOURS[kind]
                console.print(f"{at:%H:%M:%S} [{colour}]{kind:<8}[/] {escape(f'{who}  {what}')}")
            shown += 1
            if limit and shown >= limit:
                return


def _ago_ms(since: str) -> int:
    try:
        return parse_duration_ms(since)
    except ValueError as wrong:
        raise typer.BadParameter(f"--since {since}: write 90s, 10m or 2h") from wrong
