"""The full engage agent as an engine of the bench: 20 tags, 20 rules, decisions, durable state."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.runtime.meter import Meter, Run
from benchmarks.runtime.on_siyu import work
from schemas.topics import DECISIONS, TAGS, TOUCHES, Topic
from streams.agents import engage
from streams.agents.ports import Batch, Lane
from streams.authoring.load import load_rulebook
from streams.commands import log
from streams.core.engine import Engine
from streams.runtime.worker import Agent


def main() -> int:
    """Run until SIGTERM; the rulebook lies in the run's folder."""
    log.configure(json_lines=False)
    run = Run.from_argv()
    meter = Meter(run.events)
    # A bench writes to topics of its own; the agent has those of the flow.
    names: Any = engage
    names.TOUCHES = replace(TOUCHES, name=run.touches)
    names.TAGS = replace(TAGS, name=f"{run.group}.tags")
    names.DECISIONS = replace(DECISIONS, name=f"{run.group}.decisions")
    agent = engage.Engage(Engine(load_rulebook(Path(run.folder) / "book")))

    def process(lane: Lane, batch: Batch) -> None:
        agent.process(lane, batch)
        meter.add(len(batch.records))

    whole = Agent(
        "engage",
        source=Topic(run.source, "user", "Event"),
        state=Topic(run.state, "user", "packed state", cleanup="compact"),
        process=process,
        wake=agent.wake,
    )
    return work(run, whole)


if __name__ == "__main__":
    sys.exit(main())
