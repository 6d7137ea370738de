"""The room of aiokafka's inside: nobody else touches it, and what it uses is there."""
# ruff: noqa: SLF001 - private names are what this is about

import ast
import asyncio
import inspect
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import aiokafka
import pytest
from aiokafka import OffsetAndMetadata, TopicPartition
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import IllegalGenerationError
from aiokafka.producer import sender

from streams.kafka_client.fetching import FetchAnswer, last_answer, space_fetches
from streams.kafka_client.group_commits import commit_in_generation
from streams.kafka_client.producing import shorten_transaction_pause
from streams.kafka_client.raw_records import keep_raw_records

ROOT: Final = Path(__file__).parents[2]
ROOM: Final = "streams/kafka_client/"
PRIVATE_MODULES: Final = (
    "aiokafka.consumer",
    "aiokafka.coordinator",
    "aiokafka.protocol",
    "aiokafka.producer",
    "aiokafka.record",
    "aiokafka.client",
    "aiokafka.conn",
)
TP: Final = TopicPartition("raw", 0)


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("schemas", "streams", "sinks", "deploy", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(ROOM):
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def _private_names(tree: ast.AST) -> Iterator[ast.Attribute]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.attr[1] != "_":
            yield node


def _is_own(node: ast.expr) -> bool:
    """Whether it is ``self``, ``cls`` or ``super()``: what a class calls its own."""
    if isinstance(node, ast.Call):
        node = node.func
    return isinstance(node, ast.Name) and node.id in ("self", "cls", "super")


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_private_name_of_aiokafka_is_touched_outside_of_its_room() -> None:
    package = Path(inspect.getfile(aiokafka)).parent
    theirs = {
        node.attr
        for path in package.rglob("*.py")
        for node in _private_names(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {"_fetcher", "_coordinator", "_subscription", "_client", "_sender"} <= theirs
    touched = [
        f"{name}:{node.lineno} {ast.unparse(node)}"
        for name, tree in _sources()
        for node in _private_names(tree)
        if node.attr in theirs and not _is_own(node.value)
    ]
    assert touched == []


def test_no_inner_module_of_aiokafka_is_imported_outside_of_its_room() -> None:
    imported = [
        f"{name} {module}"
        for name, tree in _sources()
        for module in _imported(tree)
        if module.startswith(PRIVATE_MODULES)
    ]
    assert imported == []


def test_a_record_that_was_fetched_stays_as_it_was_parsed() -> None:
    def fetched() -> Any:  # noqa: ANN401 - aiokafka is untyped
        records = aiokafka_fetcher.PartitionRecords(
            TP, None, None, 0, None, None, check_crcs=True, isolation_level=0
        )
        return SimpleNamespace(_partition_records=records)

    before, after, copied = fetched(), fetched(), fetched()
    failed = aiokafka_fetcher.FetchError(error=ValueError(), backoff=1)
    fetcher = SimpleNamespace(_records=OrderedDict({TP: before}))
    keep_raw_records(cast("Any", SimpleNamespace(_fetcher=fetcher)), lambda topic: topic == "raw")
    fetcher._records[TopicPartition("raw", 1)] = after
    fetcher._records[TopicPartition("other", 0)] = copied
    fetcher._records[TopicPartition("raw", 2)] = failed

    record = SimpleNamespace(
        key=b"k", value=b"v", offset=1, timestamp=2, timestamp_type=0, checksum=0, headers=()
    )
    assert list(fetcher._records) == [TP, ("raw", 1), ("other", 0), ("raw", 2)]
    for raw in (before, after):
        assert raw._partition_records._consumer_record(TP, record) is record
    assert isinstance(
        copied._partition_records._consumer_record(TP, record), aiokafka.ConsumerRecord
    )


class _Group:
    """A coordinator whose generation may change while it is looked for."""

    generation, member_id = 7, "m"

    def __init__(self, moved_to: int | None = None) -> None:
        self._moved_to = moved_to
        self.commits: list[dict[TopicPartition, OffsetAndMetadata]] = []

    async def ensure_coordinator_known(self) -> None:
        if self._moved_to is not None:
            self.generation = self._moved_to

    async def _do_commit_offsets(
        self, _: object, offsets: dict[TopicPartition, OffsetAndMetadata]
    ) -> None:
        self.commits.append(offsets)


@pytest.mark.parametrize(
    ("moved_to", "member_id"), [(8, None), (-1, "m"), (None, "another")], ids=str
)
def test_who_is_no_member_of_that_generation_commits_nothing(
    moved_to: int | None, member_id: str | None
) -> None:
    group = _Group(moved_to)
    consumer = cast("Any", SimpleNamespace(_coordinator=group))
    commit = OffsetAndMetadata(3, "owner")
    with pytest.raises(IllegalGenerationError):
        asyncio.run(commit_in_generation(consumer, TP, commit, generation=7, member_id=member_id))
    assert group.commits == []


@pytest.mark.parametrize("member_id", [None, "m"])
def test_a_member_commits_with_its_metadata(member_id: str | None) -> None:
    group = _Group()
    consumer = cast("Any", SimpleNamespace(_coordinator=group))
    commit = OffsetAndMetadata(3, "owner")
    asyncio.run(commit_in_generation(consumer, TP, commit, generation=7, member_id=member_id))
    assert group.commits == [{TP: commit}]


def test_a_node_is_asked_no_sooner_than_the_pause_after_the_last_time() -> None:
    asked: list[tuple[int, float]] = []

    async def fetch(_: object, node_id: int, __: object) -> bool:
        asked.append((node_id, asyncio.get_running_loop().time()))
        return True

    async def ask() -> None:
        fetcher = SimpleNamespace(_proc_fetch_request=fetch)
        space_fetches(cast("Any", SimpleNamespace(_fetcher=fetcher)), 0.05)
        for node_id in (1, 2, 1):
            assert await fetcher._proc_fetch_request(None, node_id, None)
        # A fetch that is cancelled in its pause ends as aiokafka's own does.
        waiting = asyncio.create_task(fetcher._proc_fetch_request(None, 1, None))
        await asyncio.sleep(0)
        waiting.cancel()
        assert await waiting is False

    asyncio.run(ask())
    (first, first_s), (second, _), (third, third_s) = asked
    assert (first, second, third) == (1, 2, 1)
    assert third_s - first_s >= 0.05


def test_what_is_not_assigned_has_no_answer() -> None:
    state = SimpleNamespace(timestamp=5, highwater=9, lso=8)
    assigned = SimpleNamespace(state_value={TP: state}.get)

    def consumer(subscription: object) -> Any:  # noqa: ANN401 - aiokafka is untyped
        return SimpleNamespace(_subscription=SimpleNamespace(subscription=subscription))

    assert last_answer(consumer(None), TP) is None
    assert last_answer(consumer(SimpleNamespace(assignment=None)), TP) is None
    whole = consumer(SimpleNamespace(assignment=assigned))
    assert last_answer(whole, TopicPartition("raw", 1)) is None
    assert last_answer(whole, TP) == FetchAnswer(5, 9, 8)


def test_the_installed_aiokafka_still_has_what_the_room_uses() -> None:
    assert callable(aiokafka_fetcher.Fetcher._proc_fetch_request)
    assert callable(aiokafka_fetcher.PartitionRecords._consumer_record)
    assert list(inspect.signature(GroupCoordinator._do_commit_offsets).parameters) == [
        "self",
        "assignment",
        "offsets",
    ]
    assert sender.BACKOFF_OVERRIDE <= 0.02
    shorten_transaction_pause()
    assert sender.BACKOFF_OVERRIDE == 0.003
