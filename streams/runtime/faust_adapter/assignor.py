"""Faust's assignor with a memory: a restarted broker may list no topic at first."""

from typing import Any

from faust.assignor.partition_assignor import PartitionAssignor


class _Remembered:
    """Cluster metadata that falls back on the partitions seen before."""

    def __init__(self, cluster: Any, seen: dict[str, set[int]]) -> None:  # noqa: ANN401 - aiokafka's
        self._cluster, self._seen = cluster, seen

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return a topic's partitions; an empty answer does not unmake them."""
        partitions: set[int] | None = self._cluster.partitions_for_topic(topic)
        if partitions:
            self._seen[topic] = set(partitions)
        return partitions or self._seen.get(topic)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else is asked
        return getattr(self._cluster, name)


class RememberingAssignor(PartitionAssignor):
    """After a broker restart the first metadata can be empty.

    Faust then assigns nothing to anybody, and nothing makes the group join again: all
    workers would sit idle for ever.
    """

    seen: dict[str, set[int]]

    def assign(self, cluster: Any, member_metadata: Any) -> Any:  # noqa: ANN401 - Faust's signature
        """Assign as Faust does, on what is known."""
        self.seen = getattr(self, "seen", {})
        return super().assign(_Remembered(cluster, self.seen), member_metadata)
