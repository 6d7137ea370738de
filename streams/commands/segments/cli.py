"""`siyu segment`: define segments over tags; count, list and export who is in."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer

from schemas.errors import PartMissing
from schemas.segments import PREFIX, SegmentTag
from schemas.settings import Settings
from streams.commands.printing import Json, print_json, print_table
from streams.commands.segments.files import Segments, read_segment, segment_of, segments_of
from streams.commands.segments.store import SegmentStore

app = typer.Typer(help="Segments: users by a condition over their tags.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Id of the segment.", show_default=False)]
Folder = Annotated[
    Path | None, typer.Option("--rulebook", help="Folder; SIYU_RULEBOOK by default.")
]
# As in docs/rules: after a change of the rulebook the workers need it pushed.
_NEXT = "`siyu rules push`, or restart the worker, and rules see who enters and leaves"


@app.command("define")
def define(
    segment: Id,
    *,
    where: Annotated[str, typer.Option(help="Condition: '{tag.gmv_30d: {gte: 1000}}'.")],
    description: Annotated[str, typer.Option(help="For people.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Put it in place of another.")] = False,
    rulebook: Folder = None,
    as_json: Json = False,
) -> None:
    """Write a segment into the rulebook, check it, and count who is in already."""
    files = _files(rulebook)
    path = files.add(read_segment(segment, where, description), replace=replace)
    answer: dict[str, Any] = {"segment": segment, "file": str(path), "count": None}
    try:
        with _store(files) as (store, tag):
            answer["count"] = store.count(tag(segment))
    except PartMissing as missing:
        print(f"not counted yet: {missing}", file=sys.stderr)
    if as_json:
        print_json(answer)
        return
    print(f"{segment}: written to {path}")
    if answer["count"] is not None:
        print(f"{answer['count']} users are in it now, by the tags that ClickHouse has")
    print(f"next: {_NEXT}")


@app.command("list")
def list_segments(
    *,
    counts: Annotated[bool, typer.Option(help="Ask ClickHouse how many are in each.")] = True,
    rulebook: Folder = None,
    as_json: Json = False,
) -> None:
    """List the segments, with how many users are in each."""
    files = _files(rulebook)
    rows = []
    with _store(files) as (store, _):
        for tag in segments_of(files.load()):
            name = tag.id.removeprefix(PREFIX)
            row = {"segment": name, "where": tag.where.raw, "description": tag.description}
            rows.append({**row, "count": store.count(tag) if counts else None})
    if as_json:
        print_json({"segments": rows})
        return
    shown = [
        [r["segment"], r["count"], json.dumps(r["where"], ensure_ascii=False), r["description"]]
        for r in rows
    ]
    print_table(["segment", "users", "where", "description"], shown)


@app.command("count")
def count(segment: Id, *, rulebook: Folder = None, as_json: Json = False) -> None:
    """Count who is in, and who has entered in the eyes of rules."""
    with _store(_files(rulebook)) as (store, tag):
        defined = tag(segment)
        answer = {
            "segment": segment,
            "count": store.count(defined),
            "entered": store.entered(defined),
        }
    if as_json:
        print_json(answer)
    else:
        print(f"{segment}: {answer['count']} users; {answer['entered']} have entered for rules")


@app.command("members")
def members(
    segment: Id,
    *,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 20,
    rulebook: Folder = None,
    as_json: Json = False,
) -> None:
    """Show members with the tags that the segment reads; `export` gives all of them."""
    with _store(_files(rulebook)) as (store, tag):
        shown = list(store.members(tag(segment), limit=limit))
    if as_json:
        rows = [{"user": user, "tags": tags} for user, tags in shown]
        print_json({"segment": segment, "members": rows})
        return
    names = sorted({name for _, tags in shown for name in tags})
    print_table(["user", *names], [[user, *map(tags.get, names)] for user, tags in shown])


@app.command("export")
def export(
    segment: Id,
    *,
    form: Annotated[Literal["csv", "jsonl"], typer.Option("--format", help="Of the rows.")] = "csv",
    out: Annotated[Path | None, typer.Option(help="File; stdout by default.")] = None,
    rulebook: Folder = None,
) -> None:
    """Write all members as CSV or JSON lines; shows progress on stderr."""
    from streams.runtime.progress import progress_of

    with _store(_files(rulebook)) as (store, tag):
        defined = tag(segment)
        columns = list(dict.fromkeys(store.query(defined).tags))
        part = out.with_name(out.name + ".tmp") if out is not None else None
        with (
            progress_of(segment, store.count(defined)) as progress,
            part.open("w", encoding="utf-8", newline="") if part else _stdout() as file,
        ):
            _write(file, form, columns, _counted(store.members(defined), progress))
        # A file of that name is whole, or it is not there.
        if part is not None and out is not None:
            part.replace(out)


@app.command("drop")
def drop(segment: Id, *, rulebook: Folder = None, as_json: Json = False) -> None:
    """Take a segment out of the rulebook; refused while a rule or a tag reads it."""
    path = _files(rulebook).drop(segment)
    if as_json:
        print_json({"segment": segment, "file": str(path), "dropped": True})
    else:
        print(f"{segment}: taken out of {path}\nnext: `siyu rules push`, or restart the worker")


def _files(rulebook: Path | None) -> Segments:
    settings = Settings()
    return Segments(rulebook or settings.rulebook, settings.plan)


@contextmanager
def _store(files: Segments) -> Iterator[tuple[SegmentStore, Any]]:
    rulebook = files.load()
    store = SegmentStore(Settings(), rulebook)

    def tag(segment_id: str) -> SegmentTag:
        return segment_of(rulebook, segment_id)

    try:
        yield store, tag
    finally:
        store.close()


@contextmanager
def _stdout() -> Iterator[TextIO]:
    yield sys.stdout


def _counted(
    rows: Iterator[tuple[str, dict[str, Any]]], progress: Callable[[int], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for done, row in enumerate(rows, 1):
        yield row
        progress(done)


def _write(
    file: TextIO, form: str, names: list[str], rows: Iterator[tuple[str, dict[str, Any]]]
) -> None:
    if form == "jsonl":
        lines = (
            json.dumps({"user": user, "tags": tags}, ensure_ascii=False) for user, tags in rows
        )
        file.writelines(line + "\n" for line in lines)
        return
    table = csv.writer(file)
    table.writerow(["user", *names])
    for user, tags in rows:
        cells = (tags.get(name) for name in names)
        table.writerow([user, *(_cell(value) for value in cells)])


def _cell(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value
