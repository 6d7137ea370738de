"""The job as a raw aiokafka loop: the same validation and fold, in memory, nothing durable."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.runtime import job
from benchmarks.runtime.meter import Meter, Run


async def main() -> None:
    """Run until the last event."""
    run = Run.from_argv()
    meter = Meter(run.events)
    validate, fold = job.VALIDATE[run.validate], job.fold
    states: dict[bytes, job.State] = {}
    async with (
        AIOKafkaProducer(bootstrap_servers=run.kafka, acks="all") as producer,
        AIOKafkaConsumer(
            run.source,
            bootstrap_servers=run.kafka,
            group_id=run.group,
            auto_offset_reset="earliest",
        ) as consumer,
    ):
        while not meter.finished:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    event = validate(record.value)
                    state, touch = fold(states.get(record.key, job.FRESH), event)
                    states[record.key] = state
                    if touch is not None:
                        value = job.encode_touch(touch)
                        await producer.send(run.touches, key=record.key, value=value)
                meter.add(len(records))


if __name__ == "__main__":
    asyncio.run(main())
