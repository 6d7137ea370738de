"""The worker's rulebooks: follows what is pushed, and moves each partition to it, exactly once.

A partition moves in one committed step, and only after it has repeated all that its
predecessor may have done under the version before: see docs/decisions/hot-change.md.
"""

import asyncio
from dataclasses import dataclass, field

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas import clock
from schemas.crash import crash_point
from schemas.errors import BrokerUnavailable
from schemas.plan import Plan
from schemas.rulebooks import (
    APPLIED_KEY,
    REFUSED_KEY,
    Applied,
    Pushed,
    Refused,
    encode,
    read_files,
    version_of,
)
from schemas.settings import Settings, home
from schemas.topics import EVENTS, RULEBOOKS
from streams.agents.engage import Engage
from streams.authoring.load import load_rulebook
from streams.core.engine import Engine
from streams.runtime.lanes.lane import PartitionLane
from streams.runtime.lanes.producers import new_producer
from streams.runtime.rulebooks.follower import Follower, end_of
from streams.runtime.rulebooks.sources import keep_copy

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A version, compiled."""

    version: str
    engine: Engine


@dataclass(slots=True)
class _LaneBook:
    """One open lane: what it runs; ``until`` is how far it must repeat before it may move."""

    lane: PartitionLane
    opened_ms: int
    running: Running | None = None
    until: tuple[int, int] | None = None
    repeated: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Keeper:
    """Chooses the version of each partition; ``refused`` has the problem of each unusable one."""

    def __init__(self, settings: Settings, plan: Plan, engage: Engage) -> None:
        self._settings, self._plan, self._engage = settings, plan, engage
        files = read_files(settings.rulebook)
        keep_copy(files)  # so that a restart with another folder can still repeat what this one did
        self._folder = Running(version_of(files), engage.engine)
        self._target = self._folder
        self._known = {self._folder.version: self._folder}
        self._follower = Follower(settings, self._choose)
        self._published = self._follower.published
        self._books: dict[int, _LaneBook] = {}
        self.refused: dict[str, str] = {}

    @property
    def target(self) -> str:
        """The version that this worker moves its partitions to."""
        return self._target.version

    def running(self) -> dict[int, str]:
        """Return the version by partition."""
        return {p: book.running.version for p, book in self._books.items() if book.running}

    async def start(self) -> None:
        """Read what was pushed so far, and go on following."""
        await self._follower.start()

    async def stop(self) -> None:
        """Stop following."""
        await self._follower.stop()

    async def before(self, lane: PartitionLane) -> None:
        """Let a lane go on by the version it has, or move it if that is safe now."""
        book = self._books.get(lane.partition)
        if book is None or book.lane is not lane:
            book = self._books[lane.partition] = _LaneBook(lane, clock.now_ms())
        if book.running is self._target and not book.lock.locked():
            return
        async with book.lock:
            try:
                if book.running is None:
                    await self._adopt(book)
                if book.running is not self._target and await self._has_repeated(book):
                    await self._move(book, self._target)
            except KafkaError as problem:
                raise BrokerUnavailable(RULEBOOKS.name, repr(problem)) from problem

    def closing(self, lane: PartitionLane) -> None:
        """Commit, with the last work of a lane, that none of it must be repeated."""
        book = self._books.pop(lane.partition, None)
        if book is not None and book.lane is lane and book.running is not None:
            self._emit(lane, book.running, closed=True)

    # -- one lane -------------------------------------------------------------------

    async def _adopt(self, book: _LaneBook) -> None:
        """Give a lane that was opened the version under which it committed last."""
        # Its predecessor is fenced: what it applied is in the topic by now, or never will be.
        await self._follower.caught_up()
        lane = book.lane
        applied = self._published.applied.get(lane.partition)
        if applied is None or applied.closed:
            book.repeated = True  # there is nothing to repeat
            await self._move(book, self._target)
            return
        running = await self._find(applied.version)
        if running is None:
            log.warning(
                "unknown rulebook, its last batch may be repeated by another",
                partition=lane.partition,
                version=applied.version,
            )
            await self._move(book, self._target)
            return
        book.running = running
        self._engage.use(lane.partition, running.engine, running.version)

    async def _has_repeated(self, book: _LaneBook) -> bool:
        """Say whether the lane has repeated all that its predecessor may have done."""
        if book.repeated or book.running is None:
            return book.repeated
        lane, wall_ms = book.lane, clock.now_ms()
        if book.until is None:
            tp = TopicPartition(EVENTS.name, lane.partition)
            end = await end_of(self._settings, tp, lane.position)
            # Clocks of two machines may differ by the settle time.
            book.until = end, book.opened_ms + self._settings.timer_settle_ms
        offset, until_ms = book.until
        due_ms = lane.shard.next_due_ms()
        book.repeated = (
            lane.position >= offset
            and lane.advance_clock(wall_ms) >= until_ms
            and (due_ms is None or due_ms > until_ms)
        )
        return book.repeated

    async def _move(self, book: _LaneBook, to: Running) -> None:
        """Commit all that was done under the old version, then the move itself."""
        lane = book.lane
        if not await lane.all_committed():
            return
        crash_point("worker.switching")
        self._emit(lane, to, closed=False)
        if not await lane.all_committed():
            return
        crash_point("worker.switched")
        book.running = to
        self._engage.use(lane.partition, to.engine, to.version)
        log.info(
            "rulebook applied",
            partition=lane.partition,
            version=to.version,
            from_offset=lane.position,
        )

    def _emit(self, lane: PartitionLane, running: Running, *, closed: bool) -> None:
        applied = Applied(
            version=running.version,
            partition=lane.partition,
            from_offset=lane.position,
            worker=self._settings.worker_name,
            applied_at_ms=clock.now_ms(),
            closed=closed,
        )
        key = APPLIED_KEY + str(lane.partition).encode()
        lane.emit(RULEBOOKS.name, key, encode(applied), partition=0)

    # -- what was pushed --------------------------------------------------------------

    async def _choose(self) -> None:
        """Aim for the newest version that compiles here; the folder where none does."""
        for pushed in reversed(self._published.pushed):
            running = await self._compiled(pushed)
            if running is not None:
                self._target = running
                break
        else:
            self._target = self._folder
        newest = self._published.newest
        if newest is not None and newest.version == self._target.version:
            await self._report(newest, None)

    async def _find(self, version: str) -> Running | None:
        if version in self._known:
            return self._known[version]
        if version in self._published.versions:
            return await self._compiled(self._published.versions[version])
        copy = home() / "rulebooks" / version
        if not copy.is_dir():
            return None
        files = await asyncio.to_thread(read_files, copy)
        return await self._compiled(Pushed(version=version, files=files, pushed_at_ms=0))

    async def _compiled(self, pushed: Pushed) -> Running | None:
        version = pushed.version
        if version in self._known:
            return self._known[version]
        if version in self.refused:
            return None
        try:
            self._known[version] = await asyncio.to_thread(self._compile, pushed)
        except Exception as fault:  # noqa: BLE001 - whatever was pushed must not end a worker
            self.refused[version] = str(fault)
            log.error(  # noqa: TRY400 - its message says all
                "rulebook refused, the one before goes on",
                version=version,
                problem=str(fault),
            )
            await self._report(pushed, str(fault))
            return None
        return self._known[version]

    def _compile(self, pushed: Pushed) -> Running:
        rulebook = load_rulebook(keep_copy(pushed.files), self._plan)
        return Running(pushed.version, Engine(rulebook, settle_ms=self._settings.timer_settle_ms))

    async def _report(self, pushed: Pushed, problem: str | None) -> None:
        """Write to the topic that this worker refuses a version, or no longer does."""
        worker = self._settings.worker_name
        if problem is None and worker not in self._published.refused:
            return
        value = None
        if problem is not None:
            value = encode(
                Refused(
                    version=pushed.version,
                    worker=worker,
                    problem=problem,
                    refused_at_ms=clock.now_ms(),
                )
            )
        producer = new_producer(self._settings, transactional_id=None)
        try:
            await producer.start()
            key = REFUSED_KEY + worker.encode()
            await producer.send_and_wait(RULEBOOKS.name, key=key, value=value, partition=0)
        except KafkaError as broken:
            log.warning("could not tell of a refused rulebook", problem=repr(broken))
        finally:
            await producer.stop()
