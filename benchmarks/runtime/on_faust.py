"""The job on stock Faust: an agent and a table, one message at a time, default settings."""

import logging
from typing import Any

import faust

from benchmarks.runtime import job
from benchmarks.runtime.meter import Meter, Run


def main() -> None:
    """Run until SIGTERM."""
    run = Run.from_argv()
    meter = Meter(run.events)
    validate = job.VALIDATE[run.validate]
    app = faust.App(
        run.group,
        broker=f"kafka://{run.kafka}",
        store="memory://",
        datadir=run.folder,
        topic_partitions=job.PARTITIONS,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    source = app.topic(run.source, value_serializer="raw", key_serializer="raw")
    touches = app.topic(run.touches, value_serializer="raw", key_serializer="raw")
    table = app.Table("users", partitions=job.PARTITIONS)

    async def process(stream: Any) -> None:  # noqa: ANN401 - Faust's stream
        async for value in stream:
            event = validate(value)
            state, touch = job.fold(job.State(*table.get(event.userId, job.FRESH)), event)
            table[event.userId] = state
            if touch is not None:
                await touches.send(key=touch.user.encode(), value=job.encode_touch(touch))
            meter.add()

    app.agent(source, name="fold")(process)
    # Above INFO Faust's spinner sets the root logger to DEBUG, which would slow it down.
    logging.getLogger("mode").setLevel(logging.WARNING)
    faust.Worker(
        app, loglevel="INFO", quiet=True, redirect_stdouts=False
    ).execute_from_commandline()


if __name__ == "__main__":
    main()
