"""What the edge counts; each collector process has its own registry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class CollectMetrics:
    """The edge's metrics: accepted and refused by door and reason, bytes, time, memory held."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.items = Counter(
            "siyu_collect_items",
            "items stored; an empty reason is on its way to ingest, others went to events.rejected",
            ["door", "reason"],
            registry=self._registry,
        )
        self.refused = Counter(
            "siyu_collect_refused",
            "requests of which nothing was stored; broker_unavailable, overloaded, fault are ours",
            ["door", "reason"],
            registry=self._registry,
        )
        self.body_bytes = Counter(
            "siyu_collect_body_bytes",
            "bytes of bodies as received",
            ["door"],
            registry=self._registry,
        )
        self.in_flight_requests = Gauge(
            "siyu_collect_in_flight_requests",
            "requests that have no answer yet; at the bound the edge answers 503",
            ["door"],
            registry=self._registry,
        )
        self.in_flight_bytes = Gauge(
            "siyu_collect_in_flight_bytes",
            "bytes held by requests that wait for acks; near the bound the edge answers 503",
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "siyu_collect_request_seconds",
            "from the request's head to its answer",
            ["door"],
            registry=self._registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )

    def text(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self._registry)
