"""`siyu tags`: lint, explain, test, import, bounds, backfill."""

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from schemas import clock
from schemas.errors import ConfigInvalid
from schemas.faults import suggest
from schemas.settings import Settings
from schemas.tags import Tag
from streams.authoring.load import load_rulebook
from streams.commands.printing import Json, end_tests, print_json, print_table
from streams.core.rulebook import Rulebook
from streams.core.tags.kinds.imported_spec import ImportTag

app = typer.Typer(help="Tags: check, explain, test, import, rebuild.", no_args_is_help=True)
Book = Annotated[Path | None, typer.Option("--rulebook", help="Folder; SIYU_RULEBOOK by default.")]


@app.command("test")
def run_tests(*, rulebook: Book = None, as_json: Json = False) -> None:
    """Run the *tags.test.yaml files beside the tags on a virtual clock."""
    from streams.authoring.tag_tests import find_tag_tests, read_tests, run_tag_tests

    folder = rulebook or Settings().rulebook
    loaded = load(rulebook)
    files = find_tag_tests(folder)
    failures = [failure for file in files for failure in run_tag_tests(loaded, file)]
    cases = sum(len(read_tests(file).cases) for file in files)
    end_tests(failures, as_json=as_json, files=len(files), cases=cases)


@app.command()
def lint(
    *,
    rulebook: Book = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what is wrong with the tags, and what is doubtful, by file and line."""
    from streams.authoring.plan import load_plan
    from streams.commands.tags.lint import lint as run

    settings = Settings()
    loaded, findings = run(rulebook or settings.rulebook, load_plan(settings.plan))
    tags = len(loaded.tags) if loaded else 0
    ok = not any(strict or finding.level == "error" for finding in findings)
    if as_json:
        print_json({"ok": ok, "tags": tags, "findings": [finding.json() for finding in findings]})
    else:
        for finding in findings:
            print(finding)
        print(f"{'ok' if ok else 'NOT ok'}: {tags} tags, {len(findings)} findings")
    raise typer.Exit(0 if ok else 1)


@app.command()
def explain(
    tag: Annotated[str, typer.Argument(help="Its id; without one: all tags, one line each.")] = "",
    *,
    user: Annotated[str, typer.Option(help="Whose: user_id:me, or me.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="So many events, the newest first.")] = 20,
    rulebook: Book = None,
    as_json: Json = False,
) -> None:
    """Tell a tag in words; with --user its value now and the events it is made of."""
    from streams.commands.tags.words import describe

    loaded = load(rulebook)
    if not tag:
        descriptions = [describe(defined, loaded) for defined in loaded.tags]
        if as_json:
            print_json({"tags": descriptions})
        else:
            rows = [[row["tag"], row["layer"], row["kind"], row["means"]] for row in descriptions]
            print_table(["tag", "layer", "kind", "means"], rows)
        return
    chosen = find(loaded, tag)
    description = describe(chosen, loaded)
    if user:
        from streams.commands.tags.explain import explain_user

        now_ms = clock.now_ms()
        description |= explain_user(Settings(), loaded, chosen, user, now_ms=now_ms, limit=limit)
    if as_json:
        print_json(description)
        return
    events = description.pop("events") if user else None
    for key, value in description.items():
        print(f"{key}: {value}")
    if events:
        columns = ["time", "event", "tag", "takes", "message_id"]
        print_table(columns, [[row[column] for column in columns] for row in events])


@app.command("import")
def import_values(
    tag: Annotated[str, typer.Argument(help="A tag of kind import.")],
    *,
    file: Annotated[Path | None, typer.Option(help=".csv or .jsonl: user, value[, at]")] = None,
    query: Annotated[str, typer.Option(help="ClickHouse SQL that gives user, value[, at].")] = "",
    at: Annotated[str, typer.Option(help="Time of rows without one; a file's own else.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the rows.")] = False,
    rulebook: Book = None,
    as_json: Json = False,
) -> None:
    """Give users values from outside; may be run again after a failure or a kill."""
    from streams.commands.tags import rows
    from streams.commands.tags.imports import send_rows
    from streams.runtime.progress import progress_of

    if (file is None) == (not query):
        raise typer.BadParameter("say what: --file or --query")
    defined = find(load(rulebook), tag)
    if not isinstance(defined, ImportTag):
        raise ConfigInvalid("rulebook", f"{tag} is of kind {defined.kind}", hint="kind: import")
    settings = Settings()
    at_ms = rows.moment_ms(at) if at else None
    total = None
    if file is not None and file.is_file():
        total = file.stat().st_size
        at_ms = at_ms or file.stat().st_mtime_ns // 1_000_000
    source = rows.of_file(file) if file is not None else rows.of_query(settings.clickhouse, query)
    with progress_of(f"import {tag}", total, quiet=as_json) as progress:
        outcome = send_rows(
            settings, tag, source, at_ms or clock.now_ms(), dry_run=dry_run, progress=progress
        )
    if as_json:
        print_json({"tag": tag, "dry_run": dry_run, **asdict(outcome)})
    else:
        for bad in outcome.bad:
            print(f"line {bad.line}: {bad.reason}", file=sys.stderr)
        print(f"{outcome.rows} rows: {outcome.sent} sent, {outcome.bad_rows} bad")
    raise typer.Exit(1 if outcome.bad_rows else 0)


@app.command()
def backfill(
    tag: Annotated[str, typer.Argument(help="Its id; not one that is made of others.")],
    *,
    since: Annotated[str, typer.Option("--from", help="Only events from this time on.")] = "",
    to: Annotated[str, typer.Option("--to", help="Only events before this time.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Also users who were rebuilt by this definition.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10,
    rulebook: Book = None,
    as_json: Json = False,
) -> None:
    """Rebuild a new or changed tag from ClickHouse, while events flow; safe to run again."""
    from streams.commands.tags.backfill import FOR_EVER, Backfill
    from streams.commands.tags.rows import moment_ms
    from streams.runtime.progress import progress_of

    try:
        span = (
            moment_ms(since) if since else FOR_EVER[0],
            moment_ms(to) if to else FOR_EVER[1],
        )
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong)) from wrong
    loaded = load(rulebook)
    run = Backfill(Settings(), loaded, find(loaded, tag), span=span, again=again, rounds=rounds)
    done = asyncio.run(run.run(lambda title, total: progress_of(title, total, quiet=as_json)))
    if as_json:
        print_json(done)
    else:
        print(f"{done['users']} users rebuilt in {done['rounds']} rounds, {done['seconds']} s")
        if done["left"]:
            print(f"{done['left']} users had events all the time: run it again")
        if done["audit"] and not done["audit"]["ok"]:
            print("NOT ok: the live tag differs; does the worker run this rulebook?")
            print(done["audit"]["findings"])
    raise typer.Exit(0 if done["ok"] else 1)


@app.command()
def bounds(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell them.")] = False,
    rulebook: Book = None,
    as_json: Json = False,
) -> None:
    """Compute the bounds of tags with quantiles in ClickHouse; write them to the rulebook."""
    from streams.commands.tags.bounds import compute, write

    folder = rulebook or Settings().rulebook
    computed = compute(Settings(), load(rulebook))
    path = None if dry_run or not computed else write(folder, computed)
    if as_json:
        by_tag = {tag: bound.model_dump() for tag, bound in computed.items()}
        print_json({"bounds": by_tag, "file": str(path) if path else None})
        return
    for tag, bound in computed.items():
        print(
            f"{tag}: high from {bound.high:g}, middle from {bound.middle:g} ({bound.users} users)"
        )
    print(f"written to {path}; restart the worker to take it up" if path else "nothing written")


def find(rulebook: Rulebook, tag_id: str) -> Tag:
    """Return a tag of a rulebook; raises ``ConfigInvalid`` with a suggestion."""
    match = next((tag for tag in rulebook.tags if tag.id == tag_id), None)
    if match is None:
        hint = suggest(tag_id, [tag.id for tag in rulebook.tags]) or "`siyu tags explain` lists all"
        raise ConfigInvalid("rulebook", f"no tag {tag_id}", hint=hint)
    return match


def load(rulebook: Path | None) -> Rulebook:
    """Return the rulebook of a folder, or of the settings; raises ``ConfigInvalid``."""
    from streams.authoring.plan import load_plan

    settings = Settings()
    return load_rulebook(rulebook or settings.rulebook, load_plan(settings.plan))


def audit_tags(
    *,
    sample: Annotated[int, typer.Option(min=1, help="So many users.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other users.")] = 0,
    at: Annotated[str, typer.Option(help="As of when; the latest event's time else.")] = "",
    rulebook: Book = None,
    as_json: Json = False,
) -> None:
    """Compare every tag of sampled users with SQL over raw events: drift, error by kind."""
    from streams.commands.tags.audit import audit_tags as run
    from streams.commands.tags.rows import moment_ms
    from streams.runtime.progress import progress_of

    loaded, at_ms = load(rulebook), moment_ms(at) if at else None
    with progress_of("states read", None, quiet=as_json) as progress:
        report = asyncio.run(
            run(Settings(), loaded, users=sample, seed=seed, at_ms=at_ms, progress=progress)
        )
    if as_json:
        print_json(report)
    else:
        figures = report["figures"]
        columns = ["kind", "compared", "set", "drift", "rms_error", "off_the_exact_window"]
        rows = [
            [tag, *(verdict.get(column, "") for column in columns)]
            for tag, verdict in figures.pop("tags").items()
        ]
        print_table(["tag", *columns], rows)
        for finding in report["findings"]:
            print(f"- {finding}")
        print(f"{'ok' if report['ok'] else 'NOT ok'}: {figures}")
    raise typer.Exit(0 if report["ok"] else 1)
