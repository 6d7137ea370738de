"""Where a bench plays: the running stack, topics of its own, progress on stderr."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.broker import Broker
from deploy.local import stack
from deploy.progress import Progress as Tell
from schemas.errors import PartMissing
from schemas.settings import Settings


@contextmanager
def opened(*, quiet: bool) -> Iterator[tuple[Broker, Progress]]:
    """Bring the stack up if it is not, and yield the broker; topics are deleted at the end."""
    console = Console(stderr=True, quiet=quiet)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        info = stack.up(report=Tell(quiet=quiet))
        if not info.kafka_transactions:
            raise PartMissing(
                "kafka",
                f"{info.broker.name} at {info.kafka} has no transactions: nothing would be proven",
                remedy="install Java 17, or set SIYU_KAFKA to an Apache Kafka",
            )
        broker = Broker(Settings(kafka=info.kafka), f"bench-{uuid.uuid4().hex[:8]}")
        try:
            yield broker, progress
        finally:
            broker.close()
