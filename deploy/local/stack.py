"""The embedded stack of one home folder: bring it up, take it down, say how it is."""

import json
import os
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from kafka import KafkaAdminClient

from deploy.local import clickhouse, kafka, ports, tansu
from deploy.local.parts import Engine, Served, connects
from deploy.local.process import Process, file_lock, processes
from deploy.progress import QUIET, Progress
from schemas.errors import PartMissing
from schemas.settings import StackSettings, home

_UP: Final = "run `siyu up`"
_UNSET_KAFKA: Final = "check SIYU_KAFKA, or unset it"
# Stopped last, in this order: whatever else runs in the home depends on them.
_ENGINES: Final = (clickhouse.NAME, tansu.NAME, kafka.NAME)


@dataclass(frozen=True, slots=True)
class StackInfo:
    """What runs and where; the content of ``stack.json``."""

    kafka: str
    kafka_transactions: bool
    clickhouse: str
    clickhouse_http: str | None
    broker: Engine
    clickhouse_engine: Engine

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process of the home: ``pid`` is None when it is down."""

    name: str
    pid: int | None
    log: str


@dataclass(frozen=True, slots=True)
class StackStatus:
    """``up`` when broker and ClickHouse of ``stack`` answer now; else ``problem`` says why."""

    up: bool
    home: str
    stack: StackInfo | None
    processes: list[ProcessStatus]
    problem: str | None = None


def up(*, report: Progress = QUIET) -> StackInfo:
    """Start what is not running, wait until all answers, write ``stack.json``."""
    folder = home()
    with file_lock(folder / "stack.lock"):
        _make_secrets(folder)
        with ThreadPoolExecutor(2) as pool:
            broker = pool.submit(_broker, folder, report)
            store = pool.submit(_clickhouse, folder, report)
            served_broker, served_store = broker.result(), store.result()
        info = StackInfo(
            kafka=served_broker.address,
            kafka_transactions=_has_transactions(served_broker),
            clickhouse=served_store.address,
            clickhouse_http=_http(folder),
            broker=served_broker.engine,
            clickhouse_engine=served_store.engine,
        )
        _write(folder / "stack.json", json.dumps(info.as_dict(), indent=2))
    return info


def down(*, wipe: bool = False) -> list[str]:
    """Stop every process of the home, engines last; return their names. Wipe drops the data."""
    folder = home()
    with file_lock(folder / "stack.lock"):
        by_name = {process.name: process for process in processes(folder)}
        others = [name for name in by_name if name not in _ENGINES]
        engines = [name for name in _ENGINES if name in by_name]
        with ThreadPoolExecutor(8) as pool:
            ended = list(pool.map(lambda name: by_name[name].stop(), others))
        stopped = [name for name, was_up in zip(others, ended, strict=True) if was_up]
        stopped += [name for name in engines if by_name[name].stop()]
        (folder / "stack.json").unlink(missing_ok=True)
        if wipe:
            # secrets.json stays: data elsewhere (SIYU_KAFKA, SIYU_CLICKHOUSE) is keyed with it.
            for name in ("kafka", "clickhouse", "run", "logs"):
                shutil.rmtree(folder / name, ignore_errors=True)
    return stopped


def status() -> StackStatus:
    """Ask broker and ClickHouse now, and list the home's processes."""
    folder = home()
    listed = [ProcessStatus(p.name, p.pid(), str(p.log_path)) for p in processes(folder)]
    info = read_info(folder)
    if info is None:
        problem: str | None = "not started; run `siyu up`"
    else:
        problem = _problem(info)
    return StackStatus(
        up=problem is None, home=str(folder), stack=info, processes=listed, problem=problem
    )


def read_info(folder: Path) -> StackInfo | None:
    """Return what `up` wrote last, or None."""
    try:
        raw = json.loads((folder / "stack.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    raw["broker"] = Engine(**raw["broker"])
    raw["clickhouse_engine"] = Engine(**raw["clickhouse_engine"])
    return StackInfo(**raw)


def _broker(folder: Path, report: Progress) -> Served:
    settings = StackSettings()
    if settings.kafka is not None:
        return Served(settings.kafka, Engine("external", _kafka(settings.kafka, _UNSET_KAFKA)))
    stand_in = settings.broker == "tansu" or (settings.broker == "auto" and _must_fall_back(report))
    unwanted = kafka.NAME if stand_in else tansu.NAME
    Process(unwanted, folder).stop()  # they share the port
    return tansu.ensure(folder, report) if stand_in else kafka.ensure(folder, report)


def _must_fall_back(report: Progress) -> bool:
    reason = kafka.unavailable()
    if reason is not None:
        report(f"Apache Kafka cannot run here: {reason}")
    return reason is not None


def _clickhouse(folder: Path, report: Progress) -> Served:
    url = StackSettings().clickhouse
    if url is None:
        return clickhouse.ensure(folder, report)
    version = _or_missing(
        "ClickHouse", lambda: clickhouse.version(url), "check SIYU_CLICKHOUSE, or unset it"
    )
    return Served(url, Engine("external", version))


def _has_transactions(broker: Served) -> bool:
    return broker.engine.name != "tansu" and StackSettings().kafka_transactions


def _http(folder: Path) -> str | None:
    if StackSettings().clickhouse is not None:
        return None
    return f"http://127.0.0.1:{ports.kept(folder)['clickhouse_http']}"


def _kafka(address: str, remedy: str) -> str:
    def ask() -> str:
        connects(*address.split(","))
        admin = KafkaAdminClient(bootstrap_servers=address)
        try:
            admin.list_topics()
            return ".".join(map(str, admin.config["api_version"] or ())) or "unknown"
        finally:
            admin.close()

    return _or_missing("Kafka", ask, remedy)


def _or_missing(part: str, ask: Callable[[], str], remedy: str) -> str:
    try:
        return ask()
    except Exception as error:
        raise PartMissing(part, f"does not answer ({error})", remedy=remedy) from error


def _problem(info: StackInfo) -> str | None:
    try:
        _kafka(info.kafka, _UP)
        _or_missing("ClickHouse", lambda: clickhouse.version(info.clickhouse), _UP)
    except PartMissing as missing:
        return str(missing)
    return None


def _make_secrets(folder: Path) -> None:
    path = folder / "secrets.json"
    known: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    added = {name: secrets.token_hex(32) for name in ("pii_key", "api_token") if name not in known}
    if added:
        _write(path, json.dumps(known | added), mode=0o600)


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    part = path.with_name(path.name + ".tmp")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    part.replace(path)
