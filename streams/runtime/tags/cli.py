"""`siyu tags`: lint, explain, test, import, bounds, backfill."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.settings import Settings
from streams.core.rulebook import Rulebook, load_rulebook
from streams.runtime.printing import Json, print_json

app = typer.Typer(help="Tags: check, explain, test, import, rebuild.", no_args_is_help=True)
Book = Annotated[Path | None, typer.Option("--rulebook", help="Folder; SIYU_RULEBOOK by default.")]


@app.command("test")
def run_tests(*, rulebook: Book = None, as_json: Json = False) -> None:
    """Run the *tags.test.yaml files beside the tags on a virtual clock."""
    from streams.core.tagtest import find_tag_tests, read_tests, run_tag_tests

    folder = rulebook or Settings().rulebook
    loaded = load(rulebook)
    files = find_tag_tests(folder)
    failures = [failure for file in files for failure in run_tag_tests(loaded, file)]
    cases = sum(len(read_tests(file).cases) for file in files)
    if as_json:
        told = [str(failure) for failure in failures]
        print_json({"ok": not failures, "files": len(files), "cases": cases, "failures": told})
    else:
        for failure in failures:
            print(failure)
        print(f"{cases} cases in {len(files)} files, {len(failures)} failures")
    raise typer.Exit(1 if failures else 0)


def load(rulebook: Path | None) -> Rulebook:
    """Return the rulebook of a folder, or of the settings; raises ``ConfigInvalid``."""
    from streams.core.plan import load_plan

    settings = Settings()
    return load_rulebook(rulebook or settings.rulebook, load_plan(settings.plan))
