"""`siyu rules push`, `pause` and `resume`: a rulebook is checked, then published to the workers."""

import asyncio
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from schemas import clock
from schemas.errors import BrokerUnavailable, ConfigInvalid
from schemas.faults import suggest
from schemas.rulebooks import VERSION_KEY, Pushed, encode, read_files, version_of
from schemas.rules import Status
from schemas.settings import Settings
from schemas.topics import RULEBOOKS
from streams.authoring.channel_checks import check_channels
from streams.authoring.load import TEST_SUFFIX, load_rulebook
from streams.authoring.plan import load_plan
from streams.authoring.rule_tests import find_tests
from streams.authoring.rule_tests import run as run_tests
from streams.authoring.yaml_source import read_yaml
from streams.commands.rules.lint import refuse_unsendable
from streams.core.engine import Engine
from streams.core.rulebook import Rulebook
from streams.runtime.lanes.producers import new_producer
from streams.runtime.rulebooks.published import Published, read_published
from streams.runtime.rulebooks.sources import keep_copy
from streams.runtime.topics import start

_STATUS: Final = re.compile(r"""(\bstatus["']?\s*:\s*["']?)[a-z]+""")


@dataclass(frozen=True, slots=True)
class Push:
    """What was published, and what it replaced (empty: nothing had been pushed)."""

    version: str
    replaced: str
    tests: int
    changed: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return it for a program."""
        return {
            "version": self.version,
            "replaced": self.replaced,
            "tests": self.tests,
            "changed": self.changed,
        }


def push(settings: Settings, folder: Path, *, note: str = "", tested: bool = True) -> Push:
    """Check a rulebook, run its tests, publish it. Raises ``ConfigInvalid`` for a faulty one."""
    rulebook = _checked(settings, folder)
    refuse_unsendable(folder, settings)
    tests = _test(rulebook, folder) if tested else 0
    return asyncio.run(_publish(settings, read_files(folder), rulebook, note, tests))


def set_status(settings: Settings, rule: str, status: Status, *, note: str = "") -> Push:
    """Publish the rulebook in force with another status of one rule; raises ``ConfigInvalid``."""
    newest = asyncio.run(read_published(settings)).newest
    if newest is None:
        hint = "`siyu rules push` publishes it; or edit the file and start the worker anew"
        raise ConfigInvalid("rulebooks", "nothing was pushed, the workers run a folder", hint=hint)
    before = load_rulebook(keep_copy(newest.files), load_plan(settings.plan))
    files = with_status(newest.files, rule, status)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        after = _checked(settings, Path(folder))
    wanted = {rule.id: rule.status for rule in before.rules} | {rule: status}
    if after.versions != before.versions or {r.id: r.status for r in after.rules} != wanted:
        raise ConfigInvalid(
            rule, "its status is written in an unusual way", hint="edit the file and push it"
        )
    if status == "live":  # a pause never waits for what else is wrong
        _refuse_silence(after, rule, settings)
    note = note or f"{rule}: {status}"
    return asyncio.run(_publish(settings, files, after, note, 0))


def with_status(files: Mapping[str, str], rule: str, status: Status) -> dict[str, str]:
    """Return the files with a rule's status changed in its line; all else stays, byte for byte."""
    known: list[str] = []
    for name, text in files.items():
        if name.endswith(TEST_SUFFIX):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "book.yaml"
            path.write_text(text, "utf-8")
            located = read_yaml(path)
        rules = located.data.get("rules", []) if isinstance(located.data, dict) else []
        for i, definition in enumerate(rules):
            known.append(definition["id"])
            if definition["id"] == rule:
                has = "status" in definition
                number = located.lines["rules", i, "status" if has else "id"] - 1
                return {**files, name: _edited(text, number, rule, status, has=has)}
    raise ConfigInvalid(rule, "no such rule in the rulebook in force", hint=suggest(rule, known))


def _edited(text: str, number: int, rule: str, status: Status, *, has: bool) -> str:
    lines = text.splitlines(keepends=True)
    line = lines[number]
    if has:
        line = _STATUS.sub(rf"\g<1>{status}", line, count=1)
    elif "{" in line:
        own = re.compile(rf"""(\bid["']?\s*:\s*["']?{rule}\b["']?)""")
        line = own.sub(rf"\g<1>, status: {status}", line, count=1)
    else:
        indent = " " * line.index("id:")
        line = f"{line.rstrip()}\n{indent}status: {status}\n"
    return "".join((*lines[:number], line, *lines[number + 1 :]))


def _checked(settings: Settings, folder: Path) -> Rulebook:
    rulebook = load_rulebook(folder, load_plan(settings.plan))
    Engine(rulebook)
    return rulebook


def _refuse_silence(rulebook: Rulebook, rule: str, settings: Settings) -> None:
    """Raise ``ConfigInvalid`` if a rule would go live and a send of it cannot go out."""
    resumed = [candidate for candidate in rulebook.rules if candidate.id == rule]
    for found in check_channels(resumed, settings):
        if found.level == "error":
            raise ConfigInvalid(rule, found.fault.problem, hint=found.fault.hint)


def _test(rulebook: Rulebook, folder: Path) -> int:
    files = find_tests(folder) if folder.is_dir() else []
    failures = [failure for file in files for failure in run_tests(rulebook, file)]
    if failures:
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise ConfigInvalid(
            folder,
            f"a test of a rule fails: {failures[0]}{more}",
            hint="`siyu rules test`; --untested publishes it anyway",
        )
    return len(files)


async def _publish(
    settings: Settings, files: dict[str, str], rulebook: Rulebook, note: str, tests: int
) -> Push:
    published, version = await read_published(settings), version_of(files)
    pushed = Pushed(version=version, files=files, note=note, pushed_at_ms=clock.now_ms())
    before = published.newest
    if before is None or before.version != version:
        await _send(settings, pushed)
    changed = _changes(settings, published, rulebook)
    return Push(version, before.version if before else "", tests, changed)


async def _send(settings: Settings, pushed: Pushed) -> None:
    producer = new_producer(settings, transactional_id=None)
    await start(producer, settings)
    try:
        key = VERSION_KEY + pushed.version.encode()
        await producer.send_and_wait(RULEBOOKS.name, key=key, value=encode(pushed), partition=0)
    except MessageSizeTooLargeError as large:
        raise ConfigInvalid(
            "rulebook",
            "larger than the topic takes in one record",
            hint="raise max.message.bytes of rulebooks",
        ) from large
    except KafkaError as problem:
        raise BrokerUnavailable(RULEBOOKS.name, repr(problem)) from problem
    finally:
        await producer.stop()


def _changes(settings: Settings, published: Published, rulebook: Rulebook) -> dict[str, str]:
    """Return what became of rules, against the version that was in force."""
    before = published.newest
    if before is None:
        return {rule.id: "added" for rule in rulebook.rules}
    try:
        old = load_rulebook(keep_copy(before.files), load_plan(settings.plan))
    except ConfigInvalid:  # an older program took it, or the plan moved on
        return {}
    statuses = [{rule.id: rule.status for rule in book.rules} for book in (old, rulebook)]
    changes: dict[str, str] = {}
    for rule in dict.fromkeys([*old.versions, *rulebook.versions]):
        if rule not in old.versions:
            changes[rule] = "added"
        elif rule not in rulebook.versions:
            changes[rule] = "removed"
        elif old.versions[rule] != rulebook.versions[rule]:
            changes[rule] = "changed"
        elif statuses[0][rule] != statuses[1][rule]:
            changes[rule] = f"{statuses[0][rule]} -> {statuses[1][rule]}"
    return changes
