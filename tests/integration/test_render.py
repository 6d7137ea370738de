import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_driver import Client

from schemas.errors import ConfigInvalid
from schemas.settings import ROOT, Settings
from sinks.clickhouse.migrate import migrate
from sinks.clickhouse.query import names, run_query
from sinks.clickhouse.render import ROLES, render, roles

pytestmark = pytest.mark.integration
URL = "clickhouse://siyu:p%27w@db.example:9000/shop"
# Tables and columns that name a person, or hold what one wrote.
PII = {
    "user",
    "user_id",
    "anonymous_id",
    "identities",
    "context",
    "properties",
    "traits",
    "body",
    "tags",
    "trace",
    "detail",
}
GRANT = re.compile(r"GRANT SELECT(?:\((.*)\))? ON \{database\}\.(\w+) TO siyu_analyst")


def _parses(client: Client, statement: str) -> bool:
    # The embedded server has neither a Keeper nor users: what it can tell is the grammar.
    return bool(client.execute("SELECT formatQuery(%(sql)s)", {"sql": statement}))


@pytest.mark.parametrize("cluster", [None, "prod"])
def test_every_statement_is_one_that_clickhouse_reads(
    clickhouse: Client, cluster: str | None
) -> None:
    rendered = [*render(URL, cluster=cluster), *roles(URL, cluster=cluster)]
    assert len(rendered) > 40
    assert all(_parses(clickhouse, statement) for statement in rendered)
    with pytest.raises(Exception, match="Syntax error"):
        _parses(clickhouse, "CREATE TABEL x")


def test_the_print_for_one_server_makes_what_migrate_makes(
    clickhouse_url: str, clickhouse: Client
) -> None:
    shapes = (
        "SELECT name, replaceAll(create_table_query, currentDatabase(), '') FROM system.tables"
        " WHERE database = currentDatabase() AND name != '_migrations' ORDER BY name"
    )
    migrate(Settings(clickhouse=clickhouse_url))
    wanted = clickhouse.execute(shapes)
    other = f"{clickhouse_url}_printed"
    client = Client.from_url(clickhouse_url)
    try:
        for statement in render(other):
            client.execute(statement)
        assert client.execute(shapes) == wanted
    finally:
        client.execute(f"DROP DATABASE {other.rpartition('/')[2]} SYNC")
        client.disconnect()


def test_on_a_cluster_every_table_is_replicated_and_has_one_that_spans_it() -> None:
    made: dict[str, list[str]] = {}
    for statement in render(URL, cluster="prod"):
        if not statement.startswith("USE "):
            assert "ON CLUSTER 'prod'" in statement
        if found := re.match(r"CREATE TABLE IF NOT EXISTS (\w+)\.(\w+)", statement):
            engine = re.search(r"ENGINE = (\w+)", statement)
            assert engine
            made.setdefault(found[2], []).append(f"{found[1]} {engine[1]}")
        assert "non_replicated" not in statement
        assert not re.search(r"(FROM|JOIN|TO) (events|decisions|receipts|users)\b", statement)
    for engines in made.values():
        local, spanning = engines[-2:]
        assert re.fullmatch(r"shop_local Replicated\w*MergeTree", local)
        assert spanning == "shop Distributed"
    assert {"events", "journeys", "identity_links", "rejects", "tags_latest"} <= made.keys()


def test_a_repeated_block_finds_the_same_shards() -> None:
    for statement in render(URL, cluster="prod"):
        assert "rand()" not in statement
    spanning = [s for s in render(URL, cluster="prod") if "Distributed(" in s]
    for table in ("events", "tag_changes", "decisions", "receipts"):
        assert any(f"'{table}', sipHash64(user))" in statement for statement in spanning)
    assert any("'rejects', sipHash64(_partition, _offset))" in one for one in spanning)


def test_the_login_of_the_address_is_the_dictionarys() -> None:
    (dictionary,) = (one for one in render(URL) if "DICTIONARY" in one and "SOURCE" in one)
    assert r"USER 'siyu' PASSWORD 'p\'w' DB 'shop'" in dictionary
    assert all("PASSWORD" not in one for one in render("clickhouse://default@h/shop"))


def test_a_cluster_is_a_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="--cluster"):
        list(render(URL, cluster="x'; DROP"))
    (tmp_path / "0001.sql").write_text("OPTIMIZE TABLE events;\n")
    with pytest.raises(ConfigInvalid, match="OPTIMIZE"):
        list(render(URL, cluster="prod", folder=tmp_path))


@pytest.fixture
def granted(clickhouse_url: str, clickhouse: Client) -> Iterator[str]:
    """A database that shows what an analyst is granted, and nothing else."""
    migrate(Settings(clickhouse=clickhouse_url))
    database = clickhouse_url.rpartition("/")[2]
    shown = f"{database}_shown"
    clickhouse.execute(f"CREATE DATABASE {shown}")
    for columns, table in GRANT.findall(ROLES.read_text("utf-8")):
        # A grant of a whole table is one of its aliases, too, which an asterisk leaves out.
        aliases = clickhouse.execute(
            "SELECT name FROM system.columns WHERE database = currentDatabase()"
            " AND table = %(table)s AND default_kind = 'ALIAS'",
            {"table": table},
        )
        whole = ", ".join(["*", *(alias for (alias,) in aliases)])
        clickhouse.execute(f"CREATE VIEW {shown}.{table} AS SELECT {columns or whole} FROM {table}")  # noqa: S608 - of our own file
    yield f"{clickhouse_url}_shown"
    clickhouse.execute(f"DROP DATABASE {shown} SYNC")


def test_an_analyst_may_ask_every_question_and_see_no_person(granted: str) -> None:
    for columns, table in GRANT.findall(ROLES.read_text("utf-8")):
        named = {column.strip() for column in columns.split(",")}
        assert not named & PII, table
    settings = Settings(clickhouse=granted)
    for name in names():
        run_query(settings, name)
    client = Client.from_url(granted)
    seen = {
        column
        for (column,) in client.execute(
            "SELECT name FROM system.columns WHERE database = currentDatabase()"
        )
    }
    client.disconnect()
    assert not seen & PII


def test_the_command_prints_it() -> None:
    argv = [sys.executable, "-m", "streams.commands.cli", "migrate", "--print", "--cluster", "prod"]
    told = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "ENGINE = ReplicatedMergeTree" in told
    assert told.rstrip().endswith(";")
