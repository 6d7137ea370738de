"""The job on Bytewax: a stateful map between its Kafka source and sink, its recovery on."""

from collections.abc import Iterable
from pathlib import Path

import bytewax.operators as op  # type: ignore[import-not-found]  # in the peers' venv only
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource  # type: ignore[import-not-found]  # in the peers' venv only
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]  # in the peers' venv only
from bytewax.recovery import RecoveryConfig, init_db_dir  # type: ignore[import-not-found]  # in the peers' venv only
from bytewax.run import cli_main  # type: ignore[import-not-found]  # in the peers' venv only

from benchmarks.runtime import job
from benchmarks.runtime.meter import Meter, Run


def main() -> None:
    """Run to the end of the topic, then leave."""
    run = Run.from_argv()
    meter = Meter(run.events)
    validate = job.VALIDATE[run.validate]

    def keyed(message: KafkaSource) -> tuple[str, job.AnyEvent]:
        event = validate(message.value)
        return event.userId, event

    def step(held: job.State | None, event: job.AnyEvent) -> tuple[job.State, Iterable[job.Touch]]:
        state, touch = job.fold(held or job.FRESH, event)
        meter.add()
        return state, () if touch is None else (touch,)

    def message(item: tuple[str, job.Touch]) -> KafkaSinkMessage:
        return KafkaSinkMessage(item[0].encode(), job.encode_touch(item[1]))

    flow = Dataflow("bench")
    events = op.input("events", flow, KafkaSource([run.kafka], [run.source], tail=False))
    touches = op.stateful_flat_map("fold", op.map("validate", events, keyed), step)
    op.output("touches", op.map("encode", touches, message), KafkaSink([run.kafka], run.touches))
    recovery = Path(run.folder) / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    # The interval of snapshots is Bytewax's default.
    cli_main(flow, recovery_config=RecoveryConfig(str(recovery)))


if __name__ == "__main__":
    main()
