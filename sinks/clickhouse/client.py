"""Connections to ClickHouse over its native protocol, with errors named by what to do."""

import logging
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from clickhouse_driver import Client
from clickhouse_driver import errors as ch

from schemas.errors import ConfigInvalid, PartMissing, SinkUnavailable, SiyuError

RETRY_AFTER_S: Final = 1.0
# Below the broker's poll interval (5 min) by far: a stuck insert must not cost the assignment.
TIMEOUTS: Final = {"connect_timeout": 5, "send_receive_timeout": 60, "sync_request_timeout": 5}
# Codes that blame the rows: the same rows would be refused again.
_BLAMES_ROWS: Final = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        407,  # DECIMAL_OVERFLOW
        469,  # VIOLATED_CONSTRAINT
    }
)
# It logs each refused connection with a stack; ours is said once by whoever handles it.
logging.getLogger("clickhouse_driver.connection").setLevel(logging.CRITICAL)
_REMEDY: Final = "is it up? `siyu status`; SIYU_CLICKHOUSE names it"
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class RowsRefused(SiyuError):
    """ClickHouse will never take these rows: find the bad one and set it aside."""

    def __init__(self, table: str, problem: str) -> None:
        super().__init__(f"{table}: rows refused: {problem}")
        self.table, self.problem = table, problem


def database_of(url: str) -> str:
    """Return the database that a native URL names; raises ``ConfigInvalid`` if it is no name."""
    name = urlsplit(url).path.lstrip("/") or "default"
    if not _IDENTIFIER.fullmatch(name):
        raise ConfigInvalid(
            "SIYU_CLICKHOUSE", f"{name!r} is no database name", hint="use letters, digits and _"
        )
    return name


def connect(
    url: str, *, database: str | None = None, settings: Mapping[str, Any] | None = None
) -> Client:
    """Return a client, not yet connected; ``database`` overrides the one of the URL.

    One client serves one thread. It connects, and connects again, by itself.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"clickhouse", "clickhouses"}:
        raise ConfigInvalid(
            "SIYU_CLICKHOUSE",
            f"scheme {parts.scheme!r} is not the native protocol",
            hint="clickhouse://user:password@host:9000/siyu",
        )
    parts = parts._replace(path=f"/{database or database_of(url)}")
    client = Client.from_url(parts.geturl())
    for name, value in TIMEOUTS.items():
        if f"{name}=" not in parts.query:
            setattr(client.connection, name, value)
    for name, value in (settings or {}).items():
        if name in client.client_settings:
            client.client_settings[name] = value
        else:
            client.settings[name] = value
    return client


def problem_of(error: BaseException) -> str:
    """Return the line of an error that says what is wrong, without the server's stack."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = next((line for line in lines if "DB::Exception" in line), lines[0])
    return line.removeprefix("DB::Exception: ").split(". Stack trace", 1)[0][:500]


def as_ours(error: BaseException, table: str) -> SiyuError | None:
    """Return the error to raise for one of the driver's; ``None`` if it is none of them."""
    problem = problem_of(error)
    if isinstance(error, ch.ServerException):
        if error.code in _BLAMES_ROWS:
            return RowsRefused(table, problem)
        return SinkUnavailable(table, problem, retry_after_s=RETRY_AFTER_S)
    if isinstance(error, ch.TypeMismatchError | UnicodeEncodeError):
        return RowsRefused(table, problem)
    if isinstance(error, ch.Error | OSError | EOFError):
        return SinkUnavailable(table, problem, retry_after_s=RETRY_AFTER_S)
    return None


def as_missing(error: Exception) -> PartMissing | None:
    """Return what is missing behind a failed query, ``None`` if the query itself is at fault."""
    if isinstance(error, ch.ServerException):
        if error.code in {ch.ErrorCodes.UNKNOWN_TABLE, ch.ErrorCodes.UNKNOWN_DATABASE}:
            return PartMissing("clickhouse", "the tables are not there", remedy="`siyu migrate`")
        return None
    return as_down(error)


def as_down(error: Exception) -> PartMissing | None:
    """Return what is missing where ClickHouse did not answer, ``None`` if it did."""
    if isinstance(ours := as_ours(error, "clickhouse"), SinkUnavailable):
        return PartMissing("clickhouse", str(ours), remedy=_REMEDY)
    return None
