"""Errors, one class for each action that a caller can take."""

from collections.abc import Mapping
from pathlib import Path


class SiyuError(Exception):
    """Base of all errors that Siyu raises on purpose; ``exit_status`` is the CLI's."""

    exit_status = 1


class ConfigInvalid(SiyuError):
    """A file or setting is wrong: mend it, then start again."""

    exit_status = 2

    def __init__(
        self, where: str | Path, problem: str, *, hint: str = "", line: int | None = None
    ) -> None:
        place = f"{where}:{line}" if line is not None else str(where)
        super().__init__(f"{place}: {problem}" + (f" ({hint})" if hint else ""))
        self.where, self.problem, self.hint, self.line = str(where), problem, hint, line


class PartMissing(SiyuError):
    """A program or service that the command needs is not there or is down."""

    exit_status = 3

    def __init__(self, part: str, problem: str, *, remedy: str) -> None:
        super().__init__(f"{part}: {problem}; {remedy}")
        self.part, self.problem, self.remedy = part, problem, remedy


def no_broker(address: str, down: BaseException) -> PartMissing:
    """Return what to raise where the broker does not answer at all."""
    remedy = "run `./siyu up`, or set SIYU_KAFKA to a running broker"
    return PartMissing("kafka", f"{address} does not answer ({down!r})", remedy=remedy)


class BrokerUnavailable(SiyuError):
    """The broker did not ack in time; send the same records again."""

    exit_status = 3

    def __init__(self, topic: str, problem: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(f"{topic}: {problem}, retry in {retry_after_s:g} s")
        self.topic, self.retry_after_s = topic, retry_after_s


class SinkUnavailable(SiyuError):
    """The store refused the batch; send the same batch again."""

    exit_status = 3

    def __init__(self, table: str, problem: str = "unavailable", *, retry_after_s: float) -> None:
        super().__init__(f"{table}: {problem}, retry in {retry_after_s:g} s")
        self.table, self.retry_after_s = table, retry_after_s


class RejectsTooMany(SiyuError):
    """The plan rejects nearly everything: mend it and start again, nothing was diverted."""

    def __init__(self, partition: int, ratios: Mapping[str, float]) -> None:
        shares = ", ".join(f"{account or '?'} {ratio:.0%}" for account, ratio in ratios.items())
        super().__init__(
            f"events.raw-{partition}: too many items are rejected ({shares}); they wait in "
            "events.raw: mend the tracking plan and start again, or set SIYU_REJECT_ALARM=warn"
        )
        self.partition, self.ratios = partition, dict(ratios)


class Fenced(SiyuError):
    """A successor owns this partition: stop writing and leave."""

    def __init__(self, transactional_id: str) -> None:
        super().__init__(f"{transactional_id}: another process took over; this one must stop")
        self.transactional_id = transactional_id
