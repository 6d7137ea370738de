"""Migrations: numbered SQL files, applied once each and in order, never changed afterwards."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from clickhouse_driver import Client

from schemas.errors import ConfigInvalid
from schemas.settings import Settings
from sinks.clickhouse.aggregates import fill_empty
from sinks.clickhouse.client import as_down, connect, database_of

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS _migrations
(
    name       String              COMMENT 'file of the migration',
    checksum   String              COMMENT 'SHA-256 of the file as applied',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was done'
)
ENGINE = MergeTree ORDER BY name
COMMENT 'Migrations that this database has had'
"""


def migrate(settings: Settings, *, folder: Path = MIGRATIONS) -> list[str]:
    """Bring the database up to date and return the names of the migrations applied now.

    The database is made where it is missing. Safe to repeat, also after a crash halfway
    and by two at a time: each statement is written so that it can run again.
    Raises ``ConfigInvalid`` for an applied migration whose file has changed or is gone,
    ``PartMissing`` where ClickHouse does not answer.
    """
    try:
        return _migrate(settings.clickhouse, folder)
    except Exception as error:
        raise as_down(error) or error from error


def statements(text: str) -> Iterator[str]:
    """Yield the statements of a migration: each ends with a semicolon at the end of a line."""
    lines: list[str] = []
    for line in text.splitlines():
        if not lines and (not line.strip() or line.lstrip().startswith("--")):
            continue
        lines.append(line)
        if line.rstrip().endswith(";"):
            yield "\n".join(lines).rstrip().removesuffix(";")
            lines = []
    if lines:
        yield "\n".join(lines)


def filled_in(statement: str, url: str) -> str:
    """Return a statement with the database's name and, for a dictionary, how it logs in."""
    parts = urlsplit(url)
    login = ""
    if parts.username and (parts.username, parts.password) != ("default", None):
        # A dictionary reads its own server's table, but only as a user that may.
        password = unquote(parts.password or "")
        login = f"USER {_quoted(unquote(parts.username))} PASSWORD {_quoted(password)} "
    return statement.replace("{database}", database_of(url)).replace("{login}", login)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _migrate(url: str, folder: Path) -> list[str]:
    bootstrap = connect(url, database="default")
    try:
        bootstrap.execute(f"CREATE DATABASE IF NOT EXISTS `{database_of(url)}`")
    finally:
        bootstrap.disconnect()
    client = connect(url)
    try:
        client.execute(_LEDGER)
        files = sorted(folder.glob("*.sql"))
        open_ones = _unapplied(client, files)
        for path in open_ones:
            _apply(client, path, url)
        if open_ones:
            # A new aggregate of old rows begins empty; a lander at work meanwhile: `siyu audit`.
            list(fill_empty(client))
        return [path.name for path in open_ones]
    finally:
        client.disconnect()


def _unapplied(client: Client, files: Iterable[Path]) -> list[Path]:
    applied: dict[str, str] = dict(
        client.execute("SELECT name, argMin(checksum, applied_at) FROM _migrations GROUP BY name")
    )
    unapplied = []
    for path in files:
        known = applied.pop(path.name, None)
        if known is None:
            unapplied.append(path)
        elif known != _checksum(path):
            raise ConfigInvalid(
                path,
                "this migration was applied and has changed since",
                hint="restore it and put the change into a new migration",
            )
    if applied:
        raise ConfigInvalid(
            MIGRATIONS, f"the database is ahead of this version: it has had {sorted(applied)}"
        )
    return unapplied


def _apply(client: Client, path: Path, url: str) -> None:
    for statement in statements(path.read_text("utf-8")):
        client.execute(filled_in(statement, url))
    client.execute(
        "INSERT INTO _migrations (name, checksum) VALUES", [(path.name, _checksum(path))]
    )


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
