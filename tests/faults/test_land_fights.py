"""Two landers that both take themselves for the owner of the same partitions."""

import os
import signal
import subprocess

import pytest

from tests.land_harness import BASE_MS, PATIENCE_S, Bench, mixed
from tests.land_log import Message

pytestmark = [pytest.mark.integration, pytest.mark.faults]

POINTS = [
    "land.before_plan:3",  # its plan must not go over that of the successor
    "land.after_plan:3",  # its insert comes when the successor's has long been there
    "land.between_parts:2",
    "land.after_insert:3",  # its commit must not take the group back
]
ROUNDS = 6


def _two_months(count: int, start: int) -> list[Message]:
    return [
        # The latest tags go by the clock of the log: theirs stays in order.
        (topic, value, None if topic == "tags" else BASE_MS - (n % 2) * 35 * 86_400_000)
        for n, (topic, value, _) in enumerate(mixed(count, start))
    ]


def _stopped(lander: subprocess.Popen[bytes]) -> bool:
    found = os.waitid(os.P_PID, lander.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    return found is not None


@pytest.mark.parametrize("point", POINTS)
def test_a_lander_frozen_at_any_point_is_fenced_when_it_wakes(landing: Bench, point: str) -> None:
    start = POINTS.index(point) * 20_000
    with landing.proxy() as first, landing.proxy() as second:
        landing.produce(_two_months(3000, start))
        sleeper = landing.lander(stop_at=point, url=first.url)
        landing.until(lambda: _stopped(sleeper))
        landing.expel()
        # The heir is killed on its first block as well, so that every case has a retry.
        heir = landing.lander(crash_at="land.after_insert", url=second.url)
        assert heir.wait(PATIENCE_S) == -signal.SIGKILL, landing.log()
        landing.expel()
        second.era = 1
        landing.land_all(url=second.url)
        landing.assert_exact()
        assert second.retried()
        known = len(first.inserts)
        sleeper.send_signal(signal.SIGCONT)
        landing.produce(mixed(500, start + 10_000))
        landing.until(lambda: landing.landed() == sum(landing.sent.values()))
        assert sleeper.poll() is None
        woken = {insert.token for insert in first.inserts[known:]}
        if point.startswith(("land.after_plan", "land.between_parts")):
            # It did insert what the other had landed: only the token kept it from counting.
            assert woken & {insert.token for insert in second.inserts}
    landing.stop_landers()
    landing.assert_exact()


def test_two_landers_thrown_out_in_turn_amid_their_inserts_land_each_record_once(
    landing: Bench,
) -> None:
    with landing.proxy() as first, landing.proxy() as second:
        landers = [landing.lander(url=first.url), landing.lander(url=second.url)]
        for round_ in range(ROUNDS):
            landing.produce(mixed(1500, 200_000 + round_ * 10_000))
            with first.holding_answers() as one, second.holding_answers() as other:
                landing.until(lambda one=one, other=other: bool(one() | other()))  # type: ignore[misc] # mypy cannot infer it
                landing.expel()  # both inserts go on; the partitions are dealt again
                seen = len(first.inserts) + len(second.inserts)
                landing.produce(mixed(100, 205_000 + round_ * 10_000))
                landing.until(
                    lambda seen=seen: len(first.inserts) + len(second.inserts) > seen  # type: ignore[misc] # mypy cannot infer it
                )
        landing.until(lambda: landing.landed() == sum(landing.sent.values()))
        assert [lander.poll() for lander in landers] == [None, None]
        both = {insert.token for insert in first.inserts} & {
            insert.token for insert in second.inserts
        }
        assert both  # sent by one and by the other
    landing.stop_landers()
    landing.assert_exact()
