"""`siyu rejected`: what was rejected, by cause, and the way back."""

import asyncio
import base64
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from schemas.settings import Settings
from streams.commands.printing import Json, print_json, print_table

app = typer.Typer(help="Rejects: list them by cause, look, send again.", no_args_is_help=True)
Fingerprint = Annotated[str, typer.Argument(help="As `siyu rejected list` shows it.")]


@app.command("list")
def list_rejects(*, as_json: Json = False) -> None:
    """Group all rejects by what is wrong with them, the most frequent first."""
    from streams.commands.rejected.log import list_groups
    from streams.core.intake.reject_reasons import REASONS

    groups = asyncio.run(list_groups(Settings()))
    if as_json:
        rows = [
            {
                "fingerprint": group.fingerprint,
                "stage": group.stage,
                "reason": group.reason,
                "detail": group.detail,
                "count": group.count,
                "redriven": group.redriven,
                "redrivable": group.redrivable,
                "first_seen": _time(group.first_ms),
                "last_seen": _time(group.last_ms),
                "accounts": dict(group.accounts),
                "sample": _text(group.sample, cut=True),
                "remedy": REASONS.get(group.reason, ""),
            }
            for group in groups
        ]
        print_json({"groups": rows, "total": sum(group.count for group in groups)})
        return
    columns = "fingerprint", "count", "redriven", "stage", "reason", "last seen", "detail", "remedy"
    shown = [
        [
            group.fingerprint,
            group.count,
            group.redriven,
            group.stage,
            group.reason,
            _time(group.last_ms),
            group.detail,
            REASONS.get(group.reason, ""),
        ]
        for group in groups
    ]
    print_table(columns, shown) if shown else print("nothing was rejected")


@app.command()
def show(
    fingerprint: Fingerprint,
    *,
    limit: Annotated[int, typer.Option(min=1, help="So many, the oldest first.")] = 5,
    as_json: Json = False,
) -> None:
    """Print rejects of one cause with their bytes, as they came in."""
    rejects = asyncio.run(_shown(Settings(), fingerprint, limit))
    if as_json:
        print_json({"fingerprint": fingerprint, "rejects": rejects})
    elif not rejects:
        print(f"no reject has the fingerprint {fingerprint}; `siyu rejected list` shows them")
    else:
        for reject in rejects:
            body = reject.pop("body_base64")
            print(*(f"{key}: {value}" for key, value in reject.items() if key != "body"), sep="\n")
            print(reject["body"] if reject["body"] is not None else f"base64: {body}", end="\n\n")
    raise typer.Exit(0 if rejects else 1)


@app.command()
def redrive(
    fingerprint: Annotated[str, typer.Argument(help="As `siyu rejected list` shows it.")] = "",
    *,
    stage: Annotated[str, typer.Option(help="parse, validate or identify")] = "",
    reason: Annotated[str, typer.Option(help="e.g. bad_property")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how many pass.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also what fails today.")] = False,
    as_json: Json = False,
) -> None:
    """Send rejects again that pass today: original bytes and times, no touches for the past."""
    from streams.authoring.plan import load_plan
    from streams.commands.rejected.redrive import Choice
    from streams.commands.rejected.redrive import redrive as run
    from streams.core.intake.validate import Validator

    if not (fingerprint or stage or reason):
        raise typer.BadParameter("say which: FINGERPRINT, --stage or --reason")
    settings = Settings()
    validator = Validator(settings.pii_key.get_secret_value().encode(), load_plan(settings.plan))
    choice = Choice(fingerprint, stage, reason)
    outcome = asyncio.run(run(settings, validator, choice, dry_run=dry_run, force=force)).as_json()
    if as_json:
        print_json({"dry_run": dry_run, **outcome})
        return
    rate = outcome["recovery_rate"]
    print(
        f"matched {outcome['matched']}: {outcome['already_redriven']} were redriven before, "
        f"{outcome['not_redrivable']} cannot be"
    )
    print(f"pass today: {outcome['recovers']}" + (f" ({rate:.1%})" if rate is not None else ""))
    for why, count in outcome["still_rejected"].items():
        print(f"still rejected: {count} {why}")
    print("dry run: nothing was sent" if dry_run else f"sent: {outcome['sent']}")


async def _shown(settings: Settings, fingerprint: str, limit: int) -> list[dict[str, Any]]:
    from streams.commands.rejected.log import read_redriven, read_rejects

    redriven = await read_redriven(settings)
    shown: list[dict[str, Any]] = []
    async for kept in read_rejects(settings):
        reject = kept.reject
        if reject.fingerprint != fingerprint:
            continue
        envelope = reject.envelope
        shown.append(
            {
                "id": kept.id,
                "stage": reject.stage,
                "reason": reject.reason,
                "detail": reject.detail,
                "logged_at": _time(kept.logged_ms),
                "envelope": msgspec.to_builtins(envelope) if envelope else None,
                "redriven": kept.id in redriven,
                "redrive_of": envelope.redrive_of if envelope else "",
                "raw_partition": reject.raw_partition,
                "raw_offset": reject.raw_offset,
                "body": _text(reject.body),
                "body_base64": base64.b64encode(reject.body).decode(),
            }
        )
        if len(shown) == limit:
            break
    return shown


def _time(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _text(body: bytes, *, cut: bool = False) -> str | None:
    """Return bytes as text; ``None`` if they are none. What was cut may end inside a character."""
    try:
        return body.decode()
    except UnicodeDecodeError as broken:
        inside = cut and broken.end == len(body) and broken.start > 0
        return body[: broken.start].decode() if inside else None
