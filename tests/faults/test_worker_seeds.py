"""Twenty seeded runs over all crash points: kill -9 there, then judge every key by the oracle."""

import asyncio
import os
import random
import signal
from dataclasses import dataclass
from typing import Final

import pytest

from tests.faults.harness import Run, Worker

pytestmark = [pytest.mark.faults, pytest.mark.integration]

# Point -> (how often it may be passed first, what must show that the kill had an effect).
POINTS: Final = {
    "worker.after_touches": (4, ("replayed", "generations")),
    "worker.after_outputs": (4, ("aborted",)),
    "worker.after_state": (4, ("aborted",)),
    "worker.after_commit": (4, ("generations",)),
    "worker.claiming": (2, ("generations",)),
    "worker.claimed": (2, ("generations",)),
    "worker.restoring": (3, ("generations",)),
    "worker.restored": (2, ("generations",)),
    "worker.assigned": (2, ("generations",)),
    "worker.revoking": (1, ("generations",)),
}
# More seeds for a long night: SIYU_TEST_SEEDS=100.
SEEDS: Final = range(int(os.environ.get("SIYU_TEST_SEEDS", "20")))


@dataclass(frozen=True)
class Plan:
    """What a seed stands for."""

    point: str
    nth: int
    workers: int
    store: str
    batch_records: int
    first: int
    last: int

    @classmethod
    def of(cls, seed: int) -> "Plan":
        """Return the plan of a seed; neighbours take all points by turns."""
        rng = random.Random(seed)
        point = list(POINTS)[seed % len(POINTS)]
        workers, nth = rng.randint(1, 3), rng.randint(1, POINTS[point][0])
        if point in {"worker.claiming", "worker.claimed", "worker.restored"} and workers > 1:
            nth = 1  # it may own a single partition
        return cls(
            point=point,
            nth=nth,
            workers=workers,
            store=rng.choice(["memory", "rocksdb"]),
            batch_records=rng.choice([10, 50, 100, 300]),
            first=rng.randint(1000, 2500),
            last=rng.randint(200, 1500),
        )

    def name(self) -> str:
        """Return it as pytest's id."""
        where = self.point.removeprefix("worker.")
        return f"{where}:{self.nth}-{self.workers}-{self.store}-{self.batch_records}"


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{seed}-{Plan.of(seed).name()}")
def test_a_kill_at_any_point_neither_loses_nor_doubles(run: Run, seed: int) -> None:
    plan = Plan.of(seed)
    run.rng = random.Random(seed)
    run.settings = {
        "worker_batch_records": str(plan.batch_records),
        "worker_store": plan.store,
        "counting_restore_records": "10",
    }
    asyncio.run(_play(run, plan))


async def _play(run: Run, plan: Plan) -> None:
    enough = asyncio.Event()
    await run.produce(plan.first)
    load = asyncio.create_task(run.feed(enough))
    for _ in range(max(1, plan.workers - 1)):
        _start(run, plan)
    # There must be state to restore, and there must be work left.
    await run.wait_for_outputs(plan.first // 2)
    if plan.workers == 1:
        run.workers[0].kill()
    victim = _start(run, plan, crash_at=f"{plan.point}:{plan.nth}")
    if plan.point == "worker.revoking" or (plan.point == "worker.assigned" and plan.nth > 1):
        await victim.assigned()
        _start(run, plan)
    assert await victim.ended() == -signal.SIGKILL, victim.said()
    _start(run, plan, take_over=victim)
    enough.set()
    await load
    await run.produce(plan.last, start=plan.first)
    await run.drained(restart=True)
    await run.check()
    evidence = await run.evidence()
    assert any(evidence[kind] for kind in POINTS[plan.point][1]), f"the run is invalid: {evidence}"


def _start(run: Run, plan: Plan, crash_at: str = "", take_over: Worker | None = None) -> Worker:
    # Whoever takes over finds the disk of the killed one, as after a restart in place.
    number = run.workers.index(take_over) if take_over else len(run.workers)
    name = f"{run.prefix}-{number}" if plan.store == "rocksdb" else "unused"
    return run.start(crash_at=crash_at, worker_name=name)
