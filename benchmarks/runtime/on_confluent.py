"""The job as a raw librdkafka loop: the same validation and fold, in memory, nothing durable."""

from confluent_kafka import Consumer, Producer  # type: ignore[import-not-found]  # in the peers' venv only

from benchmarks.runtime import job
from benchmarks.runtime.meter import Meter, Run


def main() -> None:
    """Run until the last event."""
    run = Run.from_argv()
    meter = Meter(run.events)
    validate, fold = job.VALIDATE[run.validate], job.fold
    states: dict[bytes, job.State] = {}
    producer = Producer({"bootstrap.servers": run.kafka})
    consumer = Consumer(
        {
            "bootstrap.servers": run.kafka,
            "group.id": run.group,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([run.source])
    while not meter.finished:
        messages = consumer.consume(1000, timeout=0.2)
        for message in messages:
            if message.error():
                raise RuntimeError(str(message.error()))
            key = message.key()
            state, touch = fold(states.get(key, job.FRESH), validate(message.value()))
            states[key] = state
            if touch is not None:
                producer.produce(run.touches, key=key, value=job.encode_touch(touch))
        if messages:
            meter.add(len(messages))
        producer.poll(0)
    producer.flush()
    consumer.close()


if __name__ == "__main__":
    main()
