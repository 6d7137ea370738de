"""A Faust app whose agents run on lanes: what the worker, the tests and the benches share."""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import faust
import structlog
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from schemas.errors import PartMissing, SiyuError, no_broker
from schemas.settings import Settings
from schemas.topics import Topic
from streams.kafka_client.offset_fetch import mend_offset_fetch
from streams.runtime.faust_adapter.assignor import RememberingAssignor
from streams.runtime.faust_adapter.transport import BatchSchema, use_micro_batches
from streams.runtime.lanes.fair_queue import FairQueue
from streams.runtime.lanes.lanes import Gate, Lanes, Process, Wake
from streams.runtime.lanes.producers import new_producer
from streams.runtime.loop import use_fast_loop

log = structlog.get_logger()

# How long the loop waits for a thread that computes (a rulebook is compiled in one), after each
# look at its sockets. Python's default is 5 ms.
_SWITCH_S: Final = 0.0005


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent: the topic it reads, where its state lives, what it does with a batch.

    ``outputs`` are the topics to which it emits by key, without naming a partition;
    ``commit_every_s`` is the least time between two transactions of the agent: one
    whose output others wait for takes little, one that changes much state gains by more,
    as long as no transaction is so large that what comes meanwhile has to wait for it.
    ``wake`` is called with a lane, a key and the lane's time when the key's timer is due;
    the ``gate`` is passed ahead of each batch and each round of timers.
    """

    name: str
    source: Topic
    state: Topic
    process: Process
    outputs: tuple[str, ...] = ()
    wake: Wake | None = None
    gate: Gate | None = None
    commit_every_s: float = 0.1


class Part(Protocol):
    """What runs beside the agents, on the worker's loop."""

    async def start(self) -> None:
        """Begin; partitions come only afterwards."""

    async def stop(self) -> None:
        """End; the lanes are closed already."""


class Rulebooks(Protocol):
    """Which rulebook each partition runs, and what cannot be run here."""

    refused: dict[str, str]

    def running(self) -> dict[int, str]:
        """Return the version by partition."""


class _App(faust.App):
    """Faust's app with a hook that runs on its loop before partitions can come."""

    prepare: Callable[[], Awaitable[None]]

    def _create_directories(self) -> None:
        """Make no folder: Faust wants one for tables of its own, which are not used."""

    async def on_start(self) -> None:
        await super().on_start()
        await self.prepare()


class FaustWorker:
    """Runs agents as one member of a consumer group; ``failure`` is the fault that ended it."""

    def __init__(self, settings: Settings, group: str, agents: Sequence[Agent]) -> None:
        mend_offset_fetch()
        use_fast_loop()
        self.settings, self.agents = settings, agents
        self.failure: BaseException | None = None
        # In the order in which they start: what serves comes last.
        self.parts: list[Part] = []
        self.rulebooks: Rulebooks | None = None  # whoever keeps them, for the metrics
        self.lanes: dict[str, Lanes] = {}
        self._queue = FairQueue()
        self.app = _new_app(settings, group, frozenset(agent.source.name for agent in agents))
        self.app.prepare = self._prepare
        self.app.on_partitions_assigned.connect(self._assigned)
        self.app.on_partitions_revoked.connect(self._revoked)
        self.app.on_before_shutdown.connect(self._shut_down)
        for agent in agents:
            self._register(agent)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; raises what ended the worker, if a fault did."""
        _tune_collector()
        sys.setswitchinterval(_SWITCH_S)
        worker = faust.Worker(
            self.app, loglevel="INFO", quiet=True, redirect_stdouts=False, override_logging=False
        )
        try:
            worker.execute_from_commandline()
        except SystemExit as ended:
            if self.failure is None and ended.code:
                raise
        if self.failure is not None:
            raise self.failure

    def _register(self, agent: Agent) -> None:
        @self.app.agent(self.app.topic(agent.source.name, schema=BatchSchema()), name=agent.name)
        async def run_batches(stream: Any) -> None:  # noqa: ANN401 - Faust's stream
            async for batch in stream:
                await self.lanes[agent.name].run(batch, agent.process)

        if agent.wake is not None:
            wake = agent.wake

            @self.app.task
            async def timers() -> None:
                await self.lanes[agent.name].tick_forever(wake)

    async def _prepare(self) -> None:
        self._touches = new_producer(self.settings, transactional_id=None)
        try:
            await self._touches.start()
        except KafkaConnectionError as down:
            self.failure = no_broker(self.settings.kafka, down)
            raise self.failure from down
        await self._require_topics()
        for part in self.parts:
            try:
                await part.start()
            except SiyuError as wrong:
                self.failure = wrong
                raise
        for agent in self.agents:
            self.lanes[agent.name] = Lanes(
                self.app,
                self.settings,
                source=agent.source,
                state=agent.state,
                outputs=agent.outputs,
                commit_every_s=agent.commit_every_s,
                touches=self._touches,
                queue=self._queue,
                on_failure=self._fail,
                gate=agent.gate,
            )

    async def _require_topics(self) -> None:
        # Without this, a lane would look for its missing topic for 40 s and then say "timeout".
        cluster = await self._touches.client.fetch_all_metadata()
        present = cluster.topics()
        wanted = {name for a in self.agents for name in (a.source.name, a.state.name, *a.outputs)}
        if missing := sorted(wanted - present):
            self.failure = PartMissing(
                f"topics {', '.join(missing)}",
                f"not on the broker at {self.settings.kafka}",
                remedy="run `./siyu migrate`",
            )
            raise self.failure

        # So that this worker, if it leads the group, knows them whatever a broker says later.
        seen = {name: set(cluster.partitions_for_topic(name) or ()) for name in wanted}
        cast("RememberingAssignor", self.app.assignor).seen = seen

    # Faust's signals send (app, set of partitions) and keyword arguments of their own.

    async def _assigned(self, *sent: Any, **__: Any) -> None:  # noqa: ANN401
        assigned: set[TP] = sent[1]
        for lanes in self.lanes.values():
            await lanes.assigned(assigned)

    async def _revoked(self, *sent: Any, **__: Any) -> None:  # noqa: ANN401
        revoked: set[TP] = sent[1]
        await asyncio.gather(*(lanes.revoked(revoked) for lanes in self.lanes.values()))

    async def _shut_down(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        await asyncio.gather(*(lanes.close() for lanes in self.lanes.values()))
        await self._touches.stop()
        for part in self.parts:
            await part.stop()

    async def _fail(self, failure: BaseException) -> None:
        if self.failure is not None:
            return
        self.failure = failure
        log.error("worker stops", problem=str(failure), exc_info=not isinstance(failure, SiyuError))
        await self.app.crash(failure)


def _tune_collector() -> None:
    # A batch makes thousands of objects that live as long as it does. With the default
    # threshold of 700 each batch sets off full collections: measured twice the CPU.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _new_app(settings: Settings, group: str, topics: frozenset[str]) -> _App:
    app = _App(
        group,
        broker=f"kafka://{settings.kafka}",
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        PartitionAssignor=RememberingAssignor,
        stream_buffer_maxsize=4,  # batches, not records
        consumer_auto_offset_reset="earliest",
        # After a broker restart the first metadata can be empty; the default waits for minutes.
        consumer_metadata_max_age_ms=5000,
        consumer_max_fetch_size=4 * 1024 * 1024,
        broker_max_poll_records=settings.worker_batch_records,
        broker_session_timeout=settings.worker_session_timeout_s,
        broker_heartbeat_interval=settings.worker_session_timeout_s / 4,
        # A restore may take minutes; the heartbeat shows that the process lives.
        broker_max_poll_interval=600.0,
        stream_wait_empty=False,
    )
    use_micro_batches(app, settings.kafka, topics, isolation_level=settings.isolation_level)
    return app
