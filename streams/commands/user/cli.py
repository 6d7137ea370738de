"""`siyu user`: what is known of one user, live."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from schemas.profiles import Found, encode
from schemas.settings import Settings
from streams.commands.printing import Json
from streams.terminal import print_rows

# What a tag shows that has never moved: not worth a line.
_NOTHING: Final = (0, False, None)

app = typer.Typer(help="One user: tags, identities, timers.", no_args_is_help=True)


@app.callback()
def users() -> None:
    """One user: tags, identities, timers."""


@app.command()
def show(
    identifier: Annotated[
        str,
        typer.Argument(
            help="me, user_id:me, openid:APPID:ID, phone:138…, email:…, or any identifier."
        ),
    ],
    *,
    as_json: Json = False,
) -> None:
    """Show the tags that a user has now, since when and by which event; asks the worker."""
    from streams.commands.user.client import ask

    profile = asyncio.run(ask(Settings(), identifier))
    if profile is None:
        if as_json:
            print(json.dumps({"problem": "no such user"}))
        else:
            typer.echo(f"no user has the identifier {identifier}", err=True)
        raise typer.Exit(1)
    if as_json:
        print(encode(profile).decode())
    else:
        _print(profile)


def _print(profile: Found) -> None:
    console = Console()
    by = "" if profile.matched == profile.user else f", found by {profile.matched}"
    console.print(f"[bold]{escape(profile.user)}[/]{escape(by)}", highlight=False)
    rows = []
    for name, tag in sorted(profile.tags.items(), key=lambda item: (item[1].layer, item[0])):
        if tag.since_ms is not None or tag.value not in _NOTHING:
            value = json.dumps(tag.value, ensure_ascii=False)
            cause = "time" if tag.message_id == "" else tag.message_id or ""
            rows.append([tag.layer, name, value, _time(tag.since_ms), cause])
    print_rows(console, ["layer", "tag", "value", "since", "by event"], rows)
    known = ", ".join(f"{kind}:{value}" for kind, value in profile.identities.items())
    console.print(f"identities: {escape(known) or 'none'}", highlight=False)
    for timer in profile.timers:
        due = f"{timer.rule} ({timer.kind}) is due {_time(timer.due_ms)}"
        console.print(f"timer: {escape(due)}", highlight=False)
    asof = f"as of offset {profile.offset} of events-{profile.partition}, {_time(profile.at_ms)}"
    console.print(asof, highlight=False)


def _time(time_ms: int | None) -> str:
    if time_ms is None:
        return ""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
