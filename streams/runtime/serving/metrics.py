"""What the worker counts: one list of metrics, each with its remedy, read when asked for.

Nothing is counted twice: the agents and lanes hold plain numbers, and a scrape reads them
on the worker's own loop.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from faust.types import TP
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from streams.agents.ingest import Ingest

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FAMILIES: Final = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric: what it means, and what to do when its value is wrong."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    remedy: str


METRICS: Final = {
    metric.name: metric
    for metric in (
        MetricSpec(
            "siyu_worker_events",
            "counter",
            ("source",),
            "events accepted",
            "if it stands still while the collector accepts: look at the lag",
        ),
        MetricSpec(
            "siyu_worker_rejects",
            "counter",
            ("stage", "reason"),
            "items rejected",
            "`siyu rejected list` shows them by cause; mend, then `siyu rejected redrive`",
        ),
        MetricSpec(
            "siyu_worker_reject_ratio",
            "gauge",
            ("account",),
            "rejected share of an account's latest items",
            "near 1 for one account: its producer; for all accounts: the plan",
        ),
        MetricSpec(
            "siyu_worker_reject_alarm",
            "gauge",
            ("account",),
            "1: the share is over SIYU_REJECT_ALARM_RATIO",
            "page somebody: events are being diverted; `siyu rejected list`",
        ),
        MetricSpec(
            "siyu_worker_batches",
            "counter",
            ("agent",),
            "batches processed",
            "few and large is well; one record each means the broker hands out singles",
        ),
        MetricSpec(
            "siyu_worker_commit_seconds",
            "histogram",
            ("agent",),
            "from the start of a commit to its end, acks of touches included",
            "over 1 s: the broker is slow or far; look at its disks and at replication",
        ),
        MetricSpec(
            "siyu_worker_lag_records",
            "gauge",
            ("agent", "partition"),
            "records behind the end of the topic; a few markers of transactions at rest",
            "if it grows: start another worker, up to one for each partition",
        ),
        MetricSpec(
            "siyu_worker_pending_records",
            "gauge",
            ("agent", "partition"),
            "outputs in no transaction yet",
            "near SIYU_WORKER_PENDING_RECORDS: the broker holds the worker back",
        ),
        MetricSpec(
            "siyu_worker_timers",
            "gauge",
            ("agent", "partition"),
            "timers that wait, those of a changed time included",
            "if it only grows: a rule waits for what never comes; `siyu rules lint`",
        ),
        MetricSpec(
            "siyu_worker_rulebook_partitions",
            "gauge",
            ("version",),
            "partitions that run this version of the rulebook",
            "two versions for more than some seconds: `siyu rules status`",
        ),
        MetricSpec(
            "siyu_worker_rulebook_refused",
            "gauge",
            ("version",),
            "1: this worker cannot compile a version that was pushed, and keeps the one before",
            "`siyu rules status` tells why; mend it, or bring the worker up to date",
        ),
    )
}


class Meter:
    """What the lanes of one agent count together; outlives each of them."""

    def __init__(self) -> None:
        self.batches = 0
        self.commit_counts = [0] * (len(BUCKETS_S) + 1)
        self.commit_sum_s = 0.0

    def committed(self, took_s: float) -> None:
        """Count a commit."""
        self.commit_counts[bisect_left(BUCKETS_S, took_s)] += 1
        self.commit_sum_s += took_s


class WorkerMetrics(Collector):
    """Reads a worker's numbers in Prometheus' form."""

    def __init__(self, worker: Any, ingest: Ingest) -> None:  # noqa: ANN401 - FaustWorker imports this module's user
        self._worker, self._ingest = worker, ingest
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Return all metrics as they are now."""
        families = {
            name: _FAMILIES[metric.kind](name, metric.meaning, labels=metric.labels)
            for name, metric in METRICS.items()
        }
        self._collect_ingest(families)
        for agent, lanes in self._worker.lanes.items():
            self._collect_agent(families, agent, lanes)
        if self._worker.rulebooks is not None:
            self._collect_rulebooks(families, self._worker.rulebooks)
        yield from families.values()

    def _collect_ingest(self, families: dict[str, Any]) -> None:
        for source, n in self._ingest.events.items():
            families["siyu_worker_events"].add_metric([source], n)
        for (stage, reason), n in self._ingest.rejects.items():
            families["siyu_worker_rejects"].add_metric([stage, reason], n)
        alarms = self._ingest.watch.alarms()
        for account, ratio in self._ingest.watch.ratios().items():
            families["siyu_worker_reject_ratio"].add_metric([account], ratio)
            families["siyu_worker_reject_alarm"].add_metric([account], account in alarms)

    def _collect_rulebooks(self, families: dict[str, Any], keeper: Any) -> None:  # noqa: ANN401 - Keeper, as above
        for version, n in Counter(keeper.running().values()).items():
            families["siyu_worker_rulebook_partitions"].add_metric([version], n)
        for version in keeper.refused:
            families["siyu_worker_rulebook_refused"].add_metric([version], 1)

    def _collect_agent(self, families: dict[str, Any], agent: str, lanes: Any) -> None:  # noqa: ANN401 - Lanes, as above
        meter: Meter = lanes.meter
        families["siyu_worker_batches"].add_metric([agent], meter.batches)
        buckets, total = [], 0
        for bound, count in zip((*BUCKETS_S, "+Inf"), meter.commit_counts, strict=True):
            total += count
            buckets.append((str(bound), total))
        families["siyu_worker_commit_seconds"].add_metric([agent], buckets, meter.commit_sum_s)
        for lane in lanes.open_lanes():
            labels = [agent, str(lane.partition)]
            end = self._worker.app.consumer.highwater(TP(lane.topic, lane.partition))
            if end is not None:
                lag = max(0, end - lane.position)
                families["siyu_worker_lag_records"].add_metric(labels, lag)
            families["siyu_worker_pending_records"].add_metric(labels, lane.pending)
            families["siyu_worker_timers"].add_metric(labels, lane.shard.timers)
