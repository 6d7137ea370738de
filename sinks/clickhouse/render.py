"""The migrations as SQL to read or to run elsewhere: for one server, or for a cluster.

On a cluster the same files make replicated tables in ``<database>_local``, filled and aggregated
shard by shard, and a Distributed table of the same name in ``<database>``: what lands and what
asks finds the names that it knows. A user's rows share a shard, a repeated block's too.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from schemas.errors import ConfigInvalid
from sinks.clickhouse.migrate import MIGRATIONS, filled_in, statements

ROLES: Final = Path(__file__).parent / "roles.sql"
_CLUSTER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_HEAD: Final = re.compile(
    r"(?P<verb>CREATE TABLE IF NOT EXISTS|CREATE OR REPLACE TABLE"
    r"|CREATE VIEW IF NOT EXISTS|CREATE DICTIONARY IF NOT EXISTS"
    r"|CREATE MATERIALIZED VIEW IF NOT EXISTS|ALTER TABLE|DROP VIEW IF EXISTS|DROP TABLE IF EXISTS"
    r"|INSERT INTO)\s+(?P<name>\w+)"
)
_SOURCE: Final = re.compile(r"\b(FROM|JOIN|TO)\s+([a-z]\w*)\b(?!\s*\()")
# By what a table's rows find their shard: the first column of these that it has.
_SHARD_BY: Final = {
    "user_key": "user_key",
    "user": "sipHash64(user)",
    "identifier": "sipHash64(identifier)",
    "_offset": "sipHash64(_partition, _offset)",
    "channel": "sipHash64(channel)",
}


def render(url: str, *, cluster: str | None = None, folder: Path = MIGRATIONS) -> Iterator[str]:
    """Yield the statements of all migrations, in order, for the database of a native URL.

    Raises ``ConfigInvalid`` for a cluster that is no name, and for a statement of which a
    cluster's form is not known.
    """
    database = filled_in("{database}", url)
    if cluster is None:
        yield f"CREATE DATABASE IF NOT EXISTS {database}"
        yield f"USE {database}"
        for path in sorted(folder.glob("*.sql")):
            for statement in statements(path.read_text("utf-8")):
                yield filled_in(statement, url)
        return
    if not _CLUSTER.fullmatch(cluster):
        raise ConfigInvalid("--cluster", f"{cluster!r} is no name", hint="as in system.clusters")
    yield from _Cluster(database, cluster).render(url, folder)


def roles(url: str, *, cluster: str | None = None) -> Iterator[str]:
    """Yield the statements that make the roles."""
    for statement in statements(ROLES.read_text("utf-8")):
        filled = filled_in(statement, url)
        if cluster:
            # Distributed tables ask the shards as the user who asks: both databases.
            yield from (_role_on(filled, cluster, name) for name in _databases(filled, url))
        else:
            yield filled


def _databases(statement: str, url: str) -> list[str]:
    name = filled_in("{database}", url)
    return [name, f"{name}_local"] if f" ON {name}." in statement else [name]


def _role_on(statement: str, cluster: str, database: str) -> str:
    of_database = re.sub(r" ON \w+\.", f" ON {database}.", statement)
    if of_database.startswith("GRANT"):
        return of_database.replace("GRANT ", f"GRANT ON CLUSTER '{cluster}' ", 1)
    return re.sub(r"(IF NOT EXISTS \w+)", rf"\1 ON CLUSTER '{cluster}'", of_database, count=1)


class _Cluster:
    """Rewrites the statements of one run; knows which tables are there by now."""

    def __init__(self, database: str, cluster: str) -> None:
        self._all, self._local = database, f"{database}_local"
        self._name, self._on = cluster, f"ON CLUSTER '{cluster}'"
        self._shard_by: dict[str, str] = {}
        self._views: set[str] = set()

    def render(self, url: str, folder: Path) -> Iterator[str]:
        for database in (self._all, self._local):
            yield f"CREATE DATABASE IF NOT EXISTS {database} {self._on}"
        yield f"USE {self._local}"
        for path in sorted(folder.glob("*.sql")):
            for statement in statements(path.read_text("utf-8")):
                yield from self._rewritten(path, filled_in(statement, url))

    def _rewritten(self, path: Path, statement: str) -> Iterator[str]:
        head = _HEAD.match(statement)
        if head is None:
            raise ConfigInvalid(
                path, f"no cluster's form of: {statement[:60]}", hint="teach render.py the verb"
            )
        name, rest = head["name"], statement[head.end() :]
        match head["verb"].split():
            case ["INSERT", *_]:
                # A new cluster has no old rows; an old one fills with `siyu audit --repair`.
                return
            case ["CREATE", "OR", *_]:
                # As itself, made anew: what spans the shards stays as it is.
                yield f"{head['verb']} {self._local}.{name} {self._on} AS {self._local}.{name}"
            case ["CREATE", "TABLE", *_]:
                self._shard_by[name] = next(
                    (
                        key
                        for column, key in _SHARD_BY.items()
                        if re.search(rf"^\s+{column}\s", rest, re.MULTILINE)
                    ),
                    "",
                )
                yield f"{head['verb']} {self._local}.{name} {self._on}{_replicated(rest)}"
                yield self._distributed(name, replace=False)
            case ["ALTER", *_]:
                yield f"ALTER TABLE {self._local}.{name} {self._on}{rest}"
                yield self._distributed(name, replace=True)
            case ["DROP", "TABLE", *_]:
                self._shard_by.pop(name, None)
                for database in (self._all, self._local):
                    yield f"{head['verb']} {database}.{name} {self._on}{rest}"
            case ["DROP", *_]:
                yield f"{head['verb']} {self._local}.{name} {self._on}{rest}"
            case ["CREATE", "MATERIALIZED", *_]:
                yield f"{head['verb']} {self._local}.{name} {self._on}{self._of(self._local, rest)}"
            case _:
                self._views.add(name)
                yield f"{head['verb']} {self._all}.{name} {self._on}{self._of(self._all, rest)}"

    def _distributed(self, name: str, *, replace: bool) -> str:
        verb = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE IF NOT EXISTS"
        key = self._shard_by[name]
        shard = f", {key}" if key else ""
        return (
            f"{verb} {self._all}.{name} {self._on} AS {self._local}.{name}\n"
            f"ENGINE = Distributed('{self._name}', '{self._local}', '{name}'{shard})"
        )

    def _of(self, database: str, text: str) -> str:
        """Return a view's text with the tables of this run named in full."""
        return _SOURCE.sub(
            lambda match: (
                f"{match[1]} {database}.{match[2]}" if match[2] in self._shard_by else match[0]
            ),
            text,
        )


def _replicated(rest: str) -> str:
    # Replicas know tokens by a window of their own, in inserts and, by default a week, in time.
    return re.sub(r"ENGINE = (\w*)MergeTree", r"ENGINE = Replicated\1MergeTree", rest).replace(
        "non_replicated_deduplication_window", "replicated_deduplication_window"
    )
