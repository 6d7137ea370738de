"""`siyu schema`: lint the tracking plan, export all contracts, show what changed."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.settings import ROOT, Settings
from streams.commands.printing import Json, print_json

app = typer.Typer(help="Contracts: the tracking plan, tags, rules, touches.", no_args_is_help=True)
PlanPath = Annotated[Path | None, typer.Option("--plan", help="Folder; SIYU_PLAN by default.")]


@app.command()
def lint(*, plan: PlanPath = None, as_json: Json = False) -> None:
    """Read the plan; print every fault with file, line and what to do."""
    from streams.authoring.plan import read_plan

    read, faults = read_plan(plan or Settings().plan)
    if as_json:
        lines = [
            {"file": fault.where, "line": fault.line, "problem": fault.problem, "hint": fault.hint}
            for fault in faults
        ]
        print_json({"ok": not faults, "events": len(read.events), "faults": lines})
    else:
        for fault in faults:
            print(fault)
        print(f"{len(faults)} faults" if faults else f"ok: {len(read.events)} events")
    raise typer.Exit(1 if faults else 0)


@app.command()
def export(
    *,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = ROOT / "build" / "schemas",
    plan: PlanPath = None,
    as_json: Json = False,
) -> None:
    """Write the JSON Schemas of all contracts, and AsyncAPI 3 of all topics."""
    from schemas.export import write
    from streams.authoring.plan import load_plan
    from streams.authoring.rulebook_file import contracts

    read = load_plan(plan or Settings().plan)
    written = [str(path) for path in write(out, read, contracts())]
    print_json({"written": written}) if as_json else print("\n".join(written))


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The plan's folder or file as it was.")],
    new: Annotated[Path, typer.Argument(help="As it is to be.")],
    *,
    as_json: Json = False,
) -> None:
    """Tell what changed; a breaking change of an event whose version stayed is an error."""
    from schemas.plandiff import diff as changes_of
    from streams.authoring.plan import load_plan

    changes = changes_of(load_plan(old), load_plan(new))
    errors = [change for change in changes if change.is_error]
    if as_json:
        print_json({"ok": not errors, "changes": [change.as_json() for change in changes]})
    else:
        for change in changes:
            kind = "BREAKING" if change.is_error else "announced" if change.breaking else "ok"
            place = ".".join(part for part in (change.event, change.path) if part)
            print(f"{kind:<9} {place}: {change.what}")
        if errors:
            print(
                f"{len(errors)} breaking: raise the event's version once producers and readers "
                "know, or keep what was"
            )
    raise typer.Exit(1 if errors else 0)
