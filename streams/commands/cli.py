"""The command line: `siyu COMMAND`; each process of the flow is one command."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from deploy.dashboards.cli import dashboards
from deploy.local import cli as stack_cli
from schemas.errors import SiyuError
from schemas.settings import ROOT, Settings
from streams.commands import log
from streams.commands.bench import cli as bench_cli
from streams.commands.printing import Json, end_tests, print_json, print_table
from streams.commands.rejected import cli as rejected_cli
from streams.commands.rules import cli as rules_cli
from streams.commands.schema import cli as contracts_cli
from streams.commands.segments import cli as segments_cli
from streams.commands.tags import cli as tags_cli
from streams.commands.tags.cli import audit_tags
from streams.commands.tail.cli import tail
from streams.commands.user import cli as user_cli

app = typer.Typer(
    name="siyu",
    help="Siyu: events of your own channels, live tags, rule-based touches, ClickHouse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
audits = typer.Typer(help="Audits: of the landing; with `tags` of live tags.")
audits.command("tags")(audit_tags)
app.add_typer(audits, name="audit")
rules = typer.Typer(help="Tags and rules of the rulebook.", no_args_is_help=True)
app.add_typer(contracts_cli.app, name="schema")
app.add_typer(rejected_cli.app, name="rejected")
app.command()(tail)
app.command()(dashboards)
app.command()(rules_cli.explain)
rules.registered_commands += rules_cli.app.registered_commands
app.add_typer(rules, name="rules")
app.add_typer(tags_cli.app, name="tags")
app.add_typer(user_cli.app, name="user")
app.add_typer(segments_cli.app, name="segment")
app.add_typer(bench_cli.app, name="bench")
for command in stack_cli.app.registered_commands:
    if command.callback is not None and command.callback.__name__ != "up":
        app.registered_commands.append(command)

Rulebook = Annotated[
    Path | None, typer.Option("--rulebook", help="Folder; SIYU_RULEBOOK by default.")
]


@app.command()
def up(*, as_json: Json = False) -> None:
    """Start broker and ClickHouse, or reuse them; create topics and tables."""
    stack_cli.up(as_json=as_json)
    _migrate(Settings())


@app.command("compile")
def compile_core(*, as_json: Json = False) -> None:
    """Make machine code of the engine's core: again after its source has changed."""
    script = ROOT / "deploy/compile.py"
    done = subprocess.run(
        [sys.executable, "-P", str(script)], capture_output=True, text=True, check=False
    )
    said = done.stderr.strip()
    if as_json:
        print_json({"compiled": not done.returncode, "problem": said if done.returncode else ""})
    elif done.returncode:
        print(f"siyu: the core runs as Python, at half the speed: {said}", file=sys.stderr)
    else:
        print(said or "the core is compiled already")
    raise typer.Exit(done.returncode)


@app.command()
def migrate(
    *,
    show: Annotated[
        bool, typer.Option("--print", help="Only print the SQL of ClickHouse's tables.")
    ] = False,
    cluster: Annotated[
        str, typer.Option(help="With --print: for this cluster, replicated and distributed.")
    ] = "",
    roles: Annotated[bool, typer.Option(help="With --print: of the roles instead.")] = False,
    as_json: Json = False,
) -> None:
    """Create what is missing: Kafka topics and ClickHouse tables."""
    if show:
        from sinks.clickhouse import render

        sql = (render.roles if roles else render.render)(
            Settings().clickhouse, cluster=cluster or None
        )
        print("\n\n".join(f"{statement};" for statement in sql))
        return
    if cluster or roles:
        raise typer.BadParameter("--cluster and --roles go with --print")
    created = _migrate(Settings())
    if as_json:
        print_json(created)
    else:
        print(f"topics made: {', '.join(created['topics']) or 'none missing'}")
        print(f"migrations applied: {', '.join(created['migrations']) or 'none missing'}")
        print(f"views made: {len(created['views'])}")


@app.command()
def collect() -> None:
    """Run the HTTP edge: SDK doors and WeChat callbacks."""
    from streams.runtime.loop import use_fast_loop
    from streams.sources.collect import run

    use_fast_loop()
    run(Settings())


@app.command()
def worker() -> None:
    """Run the Faust worker: ingest and engage."""
    from streams.runtime.app import new_worker

    new_worker(Settings()).run()


@app.command()
def deliver() -> None:
    """Run the touch sender."""
    from sinks.touches.deliver import run

    run(Settings())


@app.command()
def land(
    *,
    once: Annotated[bool, typer.Option(help="Stop at the end that the topics have now.")] = False,
) -> None:
    """Run the ClickHouse writer."""
    from sinks.clickhouse.land import run

    run(Settings(), once=once)


@app.command()
def demo(
    *,
    users: Annotated[int, typer.Option(min=1, help="Shoppers of the day.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed makes the same day.")] = 7,
    as_json: Json = False,
    keep: Annotated[bool, typer.Option(help="Leave everything running afterwards.")] = False,
) -> None:
    """Start everything, send a day of events through the front doors, show what came of it."""
    from deploy.demo.demo import run

    raise typer.Exit(run(Settings(), users=users, seed=seed, json_out=as_json, keep=keep))


@audits.callback(invoke_without_command=True)
def audit(
    context: typer.Context,
    *,
    repair: Annotated[
        bool, typer.Option(help="Make wrong aggregates anew from raw; stop `siyu land` first.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the log with ClickHouse: nothing lost, nothing double, aggregates right."""
    if context.invoked_subcommand is not None:
        return
    from sinks.clickhouse.audit import audit as run_audit

    report = run_audit(Settings(), repair=repair)
    if as_json:
        print_json(report)
    else:
        print("ok" if report["ok"] else "NOT ok")
        for finding in report["findings"]:
            print(f"- {finding}")
        for name in report["repaired"]:
            print(f"repaired: {name}")
        for name, value in report["figures"].items():
            print(f"{name}: {value}")
    raise typer.Exit(0 if report["ok"] else 1)


@app.command()
def query(
    name: Annotated[str, typer.Argument(help="Without a name: the list of queries.")] = "",
    *,
    param: Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it into this .png, too.")] = None,
    as_json: Json = False,
) -> None:
    """Answer a BI question from ClickHouse."""
    from sinks.clickhouse.query import names, plot_answer, run_query

    if not name:
        listed = {"queries": sorted(names())}
        print_json(listed) if as_json else print("\n".join(listed["queries"]))
        return
    pairs = [item.partition("=") for item in param or []]
    wrong = next((key for key, equals, _ in pairs if not equals), None)
    if wrong is not None:
        raise typer.BadParameter(f"--param {wrong}: expected NAME=VALUE")
    answer = run_query(Settings(), name, {key: value for key, _, value in pairs})
    if plot is not None:
        plot_answer(plot, name, answer)
    if as_json:
        print_json(answer)
    else:
        print_table(answer["columns"], answer["rows"])


@rules.command("lint")
def rules_lint(*, rulebook: Rulebook = None, as_json: Json = False) -> None:
    """Tell all that is wrong with the rulebook, and which sends cannot go out, by line."""
    from streams.authoring.plan import load_plan
    from streams.commands.rules.lint import lint

    settings = Settings()
    loaded, findings = lint(rulebook or settings.rulebook, load_plan(settings.plan), settings)
    ok = not any(finding.level == "error" for finding in findings)
    tags, count = (len(loaded.tags), len(loaded.rules)) if loaded else (0, 0)
    if as_json:
        found = [finding.json() for finding in findings]
        print_json({"ok": ok, "tags": tags, "rules": count, "findings": found})
    else:
        for finding in findings:
            print(finding)
        print(f"{'ok' if ok else 'NOT ok'}: {tags} tags, {count} rules, {len(findings)} findings")
    raise typer.Exit(0 if ok else 1)


@rules.command("test")
def rules_test(*, rulebook: Rulebook = None, as_json: Json = False) -> None:
    """Run the *.test.yaml files beside the rules on a virtual clock."""
    from streams.authoring.load import load_rulebook
    from streams.authoring.plan import load_plan
    from streams.authoring.rule_tests import find_tests
    from streams.authoring.rule_tests import run as run_file

    settings = Settings()
    folder = rulebook or settings.rulebook
    loaded = load_rulebook(folder, load_plan(settings.plan))
    files = find_tests(folder)
    failures = [failure for file in files for failure in run_file(loaded, file)]
    end_tests(failures, as_json=as_json, files=len(files))


def _migrate(settings: Settings) -> dict[str, list[str]]:
    from sinks.clickhouse.migrate import migrate as migrate_tables
    from sinks.clickhouse.views import make_views
    from streams.commands.broker import ensure_topics, known_fault

    if settings.kafka_transactions and (fault := known_fault(settings)):
        print(f"siyu: warning: {settings.kafka}: {fault}", file=sys.stderr)
    created = {"topics": ensure_topics(settings), "migrations": migrate_tables(settings)}
    return created | {"views": make_views(settings)}


def _guarded(command: Callable[[], None]) -> int:
    try:
        command()
    except SiyuError as problem:
        print(f"siyu: {problem}", file=sys.stderr)
        return problem.exit_status
    except ValidationError as wrong:
        for error in wrong.errors():
            name = "_".join(["SIYU", *(str(part).upper() for part in error["loc"])])
            print(f"siyu: {name}: {error['msg']} (got {error['input']!r})", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def main() -> None:
    """Run the command line; errors end in one line and the exit status of their class."""
    log.configure()
    sys.exit(_guarded(lambda: app(prog_name="siyu")))


if __name__ == "__main__":
    main()
