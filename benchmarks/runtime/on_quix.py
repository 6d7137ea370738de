"""The job on Quix Streams 3: a stateful step on RocksDB with a changelog, default settings."""

from typing import Any

from quixstreams import Application, State  # type: ignore[import-not-found]  # in the peers' venv only

from benchmarks.runtime import job
from benchmarks.runtime.meter import Meter, Run


def main() -> None:
    """Run until SIGTERM."""
    run = Run.from_argv()
    meter = Meter(run.events)
    validate = job.VALIDATE[run.validate]
    app = Application(
        broker_address=run.kafka,
        consumer_group=run.group,
        auto_offset_reset="earliest",
        state_dir=run.folder,
        loglevel="WARNING",
    )
    source = app.topic(run.source, value_deserializer="bytes")
    touches = app.topic(run.touches, value_serializer="bytes")

    def step(value: bytes, held: State) -> bytes | None:
        before: Any = held.get("user")
        state, touch = job.fold(job.State(*before) if before else job.FRESH, validate(value))
        held.set("user", [*state])  # its JSON knows no named tuple
        meter.add()
        return None if touch is None else job.encode_touch(touch)

    steps = app.dataframe(source).apply(step, stateful=True)
    steps.filter(lambda touch: touch is not None).to_topic(touches)
    app.run()


if __name__ == "__main__":
    main()
