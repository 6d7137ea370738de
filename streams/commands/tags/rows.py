"""Rows of an import: from a CSV or JSONL file or a ClickHouse query, each good or with a reason."""

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from schemas.errors import ConfigInvalid
from schemas.identities import KINDS
from sinks.clickhouse.client import as_missing, connect, problem_of
from streams.core.event_time import EARLIEST_MS
from streams.core.intake.identify import ID_MAX, PLACEHOLDERS
from streams.core.tags.values import MAX_TEXT

Value = str | int | float | bool | None
_COLUMNS: Final = ({"user", "value"}, {"user", "value", "at"})
# Epoch seconds of this century have at most ten digits; milliseconds have thirteen.
_SECONDS_BELOW: Final = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One value of one user; ``at_ms`` is epoch ms, ``None`` where the row has none."""

    line: int
    user: str
    value: Value
    at_ms: int | None


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be imported; ``line`` counts from 1, in a file or in the answer."""

    line: int
    reason: str


Rows = Iterator[tuple[int, Row | Bad]]


def of_file(path: Path) -> Rows:
    """Yield ``(bytes read, row)`` of a ``.csv`` or ``.jsonl`` file; raises ``ConfigInvalid``."""
    if path.suffix not in {".csv", ".jsonl"}:
        raise ConfigInvalid(path, "is neither .csv nor .jsonl", hint="its name tells the format")
    try:
        with path.open("rb") as raw:
            yield from (_csv if path.suffix == ".csv" else _jsonl)(path, raw)
    except OSError as unreadable:
        raise ConfigInvalid(path, f"cannot be read: {unreadable}") from unreadable


def of_query(url: str, query: str) -> Rows:
    """Yield ``(rows read, row)`` of a query that gives ``user``, ``value`` and maybe ``at``."""
    client = connect(url, settings={"readonly": 2})
    try:
        rows = client.execute_iter(query, with_column_types=True)
        columns = _named([name for name, _ in next(rows, [])])
        for line, values in enumerate(rows, 1):
            yield line, _row(line, dict(zip(columns, values, strict=True)))
    except ConfigInvalid:
        raise
    except Exception as error:
        raise as_missing(error) or ConfigInvalid("--query", problem_of(error)) from error
    finally:
        client.disconnect()


def _named(columns: list[str]) -> list[str]:
    if set(columns) not in _COLUMNS:
        problem = f"gives {', '.join(columns) or 'nothing'}"
        raise ConfigInvalid("--query", problem, hint="name its columns user, value[, at]")
    return columns


def _lines(raw: Any, done: list[int]) -> Iterator[str]:  # noqa: ANN401 - an open binary file
    for line in raw:
        done[0] += len(line)
        # What is no UTF-8 spoils its own row alone.
        yield line.decode("utf-8-sig" if done[0] == len(line) else "utf-8", "surrogateescape")


def _csv(path: Path, raw: Any) -> Rows:  # noqa: ANN401 - as above
    done = [0]
    reader = csv.DictReader(_lines(raw, done), strict=True)
    columns = [name.strip() for name in reader.fieldnames or ()]
    if set(columns) not in _COLUMNS:
        hint = "the first line is user,value or user,value,at"
        raise ConfigInvalid(
            path, f"has the columns {', '.join(columns) or 'none'}", hint=hint, line=1
        )
    reader.fieldnames = columns
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as broken:
            yield done[0], Bad(reader.line_num, f"no CSV: {broken}")
            continue
        if fields is None:
            return
        if None in fields or None in fields.values():
            yield done[0], Bad(reader.line_num, f"has not {len(columns)} fields")
            continue
        fields["value"] = _literal(fields["value"])
        yield done[0], _row(reader.line_num, fields)


def _jsonl(path: Path, raw: Any) -> Rows:  # noqa: ANN401, ARG001 - as above; one signature for both
    done = [0]
    for line, text in enumerate(_lines(raw, done), 1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as broken:
            yield done[0], Bad(line, f"no JSON: {broken}")
            continue
        wanted = isinstance(fields, dict) and set(fields) in _COLUMNS
        yield done[0], _row(line, fields) if wanted else Bad(line, "wants {user, value[, at]}")


def _literal(text: str) -> Value:
    """Return what a field of a CSV means: a number, true, false, nothing, or text."""
    if not text:
        return None
    if text in {"true", "false"}:
        return text == "true"
    for read in (int, float):
        try:
            number: int | float = read(text)
        except ValueError:
            continue
        # "007" and "1_000" are names, not numbers.
        plain = str(number) == text or (read is float and "_" not in text and text[0] != "0")
        return number if plain or text.startswith("0.") else text
    return text


def _row(line: int, fields: dict[str, Any]) -> Row | Bad:
    try:
        user = _user(fields["user"])
        return Row(line, user, _value(fields["value"]), _at_ms(fields.get("at")))
    except ValueError as wrong:
        return Bad(line, str(wrong))


def _user(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError(f"user: {raw!r} is not text")
    text = raw.strip()
    kind, colon, name = text.partition(":")
    if not colon or kind not in KINDS:
        kind, name = "user_id", text
    if name.lower() in PLACEHOLDERS or name.rpartition(":")[2].lower() in PLACEHOLDERS:
        raise ValueError(f"user: {name!r} is nobody")
    if len(name) > ID_MAX:
        raise ValueError(f"user: over {ID_MAX} characters")
    if kind == "openid" and name.find(":") < 1:
        raise ValueError("user: spell openid:<appid>:<openid>")
    return _text("user", f"{kind}:{name}")


def _value(raw: object) -> Value:
    if isinstance(raw, Decimal):
        raw = int(raw) if raw == raw.to_integral_value() else float(raw)
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ValueError(f"value: {raw} is no number that an event can hold")
    if isinstance(raw, int) and not -(2**63) < raw < 2**63:
        raise ValueError("value: over 64 bits")
    if isinstance(raw, str):
        if len(raw) > MAX_TEXT:
            raise ValueError(f"value: over {MAX_TEXT} characters")
        return _text("value", raw) or None
    if raw is None or isinstance(raw, bool | int | float):
        return raw
    raise ValueError("value: neither text, number, true, false nor null")


def _text(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: not UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{name}: holds U+0000")
    return text


def _at_ms(raw: object) -> int | None:
    if raw is None or raw == "":
        return None
    at_ms = moment_ms(raw)
    if at_ms < EARLIEST_MS:
        raise ValueError(f"at: {raw} is before 2010")
    return at_ms


def moment_ms(raw: object) -> int:
    """Return the epoch ms of ISO 8601 (UTC where it has no zone) or epoch s or ms."""
    if isinstance(raw, str) and raw.isascii() and raw.isdigit():
        raw = int(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw * 1000 if raw < _SECONDS_BELOW else raw
    convert: Callable[[Any], datetime] = datetime.fromisoformat
    if isinstance(raw, datetime):
        convert = _same
    elif isinstance(raw, date):
        raw = raw.isoformat()
    try:
        moment = convert(raw)
    except (ValueError, TypeError):
        raise ValueError(f"at: {raw!r} is no time: ISO 8601 or epoch, s or ms") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _same(moment: datetime) -> datetime:
    return moment
