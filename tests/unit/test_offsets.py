import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError, NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchResponse_v3
from aiokafka.structs import TopicPartition

from streams.kafka_client.offset_fetch import mend_offset_fetch

TP = TopicPartition("t", 0)
# What Kafka 4.3 answers while it loads the group, or where it does not hold it: no topics.
LOADING, ELSEWHERE = 14, 16


class _Client:
    def __init__(self, error_code: int) -> None:
        self._error_code = error_code

    async def send(self, *_: object, **__: object) -> OffsetFetchResponse_v3:
        return OffsetFetchResponse_v3(0, [], self._error_code)


class _Coordinator(GroupCoordinator):  # type: ignore[misc] # aiokafka is untyped
    def __init__(self, error_code: int) -> None:
        self._client, self.group_id = _Client(error_code), "g"
        self.coordinator_id: int | None = 1

    def coordinator_dead(self) -> None:
        self.coordinator_id = None


def _fetch(coordinator: Any) -> Any:  # noqa: ANN401 - what aiokafka returns
    return asyncio.run(coordinator._do_fetch_commit_offsets([TP]))  # noqa: SLF001 - under test


@pytest.fixture
def stock() -> Iterator[None]:
    before = GroupCoordinator._send_req  # noqa: SLF001 - put back below
    yield
    GroupCoordinator._send_req = before  # noqa: SLF001 - as above


@pytest.mark.usefixtures("stock")
def test_a_coordinator_that_loads_has_not_said_that_nothing_is_committed() -> None:
    mend_offset_fetch()
    with pytest.raises(GroupLoadInProgressError):
        _fetch(_Coordinator(LOADING))


@pytest.mark.usefixtures("stock")
def test_a_node_that_does_not_coordinate_the_group_is_given_up() -> None:
    mend_offset_fetch()
    coordinator = _Coordinator(ELSEWHERE)
    with pytest.raises(NotCoordinatorForGroupError):
        _fetch(coordinator)
    assert coordinator.coordinator_id is None


@pytest.mark.usefixtures("stock")
def test_no_offset_at_all_is_still_none() -> None:
    mend_offset_fetch()
    mend_offset_fetch()
    assert _fetch(_Coordinator(0)) == {}
