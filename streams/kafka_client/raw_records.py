"""Records as aiokafka's compiled parser made them, without a copy of each.

aiokafka 0.14 copies each record into a dataclass (``PartitionRecords._consumer_record``), which
costs five times the parsing and adds only what a batch knows already: topic, partition, sizes.
There is no hook, so the fetcher's own store of what it has fetched is replaced by one that
turns the copying off. The filtering of aborted transactions stays aiokafka's own.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition


class _FetchedRecords(OrderedDict[TopicPartition, Any]):
    """``Fetcher._records``: the fetched, untaken records (or the error) of each partition."""

    def __init__(self, is_raw: Callable[[str], bool]) -> None:
        super().__init__()
        self._is_raw = is_raw

    def __setitem__(self, tp: TopicPartition, fetched: Any) -> None:  # noqa: ANN401 - a FetchResult or a FetchError
        records = getattr(fetched, "_partition_records", None)
        if records is not None and self._is_raw(tp.topic):
            records._consumer_record = _as_parsed
        super().__setitem__(tp, fetched)


def _as_parsed(_: TopicPartition, record: Any) -> Any:  # noqa: ANN401 - aiokafka's compiled record
    return record


def keep_raw_records(
    consumer: AIOKafkaConsumer, is_raw: Callable[[str], bool] = lambda _: True
) -> None:
    """Make a started consumer yield raw records for the topics that *is_raw* names.

    A raw record has ``offset``, ``timestamp``, ``timestamp_type``, ``key``, ``value`` and
    ``headers``, and no topic or partition. What was fetched already is raw as well.
    """
    fetcher = consumer._fetcher
    kept = _FetchedRecords(is_raw)
    for tp, fetched in fetcher._records.items():
        kept[tp] = fetched
    fetcher._records = kept
