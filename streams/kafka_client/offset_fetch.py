"""Committed offsets, read safely: aiokafka 0.14 takes a coordinator's error for "none committed".

Since version 2 of the request that error stands beside the topics, where aiokafka does
not look. A broker that just starts answers so while it loads its offsets, and a consumer
that believed it would begin at the start of its topics again.
"""

from typing import Any, Final

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import NoError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchResponse_v2, OffsetFetchResponse_v3

_ANSWERS: Final = (OffsetFetchResponse_v2, OffsetFetchResponse_v3)
_send: Final = GroupCoordinator._send_req  # the one place where answers pass


async def _send_checked(coordinator: Any, request: Any) -> Any:  # noqa: ANN401 - aiokafka is untyped
    answer = await _send(coordinator, request)
    if isinstance(answer, _ANSWERS):
        error = for_code(answer.error_code)
        if error is NotCoordinatorForGroupError:
            coordinator.coordinator_dead()
        if error is not NoError:
            # The caller asks again where that may help, as it does for other errors.
            raise error
    return answer


def mend_offset_fetch() -> None:
    """Make every aiokafka consumer of this process see that error; may be called again."""
    GroupCoordinator._send_req = _send_checked
