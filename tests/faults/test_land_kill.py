import signal
import time

import pytest

from tests.land_harness import BASE_MS, PATIENCE_S, Bench, mixed
from tests.land_log import Message

pytestmark = [pytest.mark.integration, pytest.mark.faults]

POINTS = [
    "land.before_plan:2",  # a block is read, nothing is promised
    "land.after_plan",  # promised, not inserted: the first block of all
    "land.after_plan:5",  # the same in the middle
    "land.between_parts",  # a block of two months is half there
    "land.after_insert:3",  # there, not committed
    "land.after_commit:2",
]


def _two_months(count: int, start: int) -> list[Message]:
    return [
        # The latest tags go by the clock of the log: theirs stays in order.
        (topic, value, None if topic == "tags" else BASE_MS - (n % 2) * 35 * 86_400_000)
        for n, (topic, value, _) in enumerate(mixed(count, start))
    ]


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_at_any_point_lands_each_record_once(landing: Bench, point: str) -> None:
    landing.produce(_two_months(3000, POINTS.index(point) * 10_000))
    assert landing.lander(crash_at=point).wait(PATIENCE_S) == -signal.SIGKILL, landing.log()
    # More arrives before the successor: it must finish the planned range alone, then this.
    landing.produce(mixed(500, 5000 + POINTS.index(point) * 10_000))
    landing.land_all()
    landing.assert_exact()


def test_kill_9_of_the_successor_as_well_changes_nothing(landing: Bench) -> None:
    landing.produce(_two_months(2000, 100_000))
    for point in (
        "land.after_insert:2",
        "land.between_parts",
        "land.after_plan",
        "land.after_insert",
    ):
        assert landing.lander(crash_at=point).wait(PATIENCE_S) == -signal.SIGKILL, landing.log()
    landing.land_all()
    landing.assert_exact()


def test_clickhouse_killed_under_load_loses_and_doubles_nothing(landing: Bench) -> None:
    lander = landing.lander()
    for start in (200_000, 300_000):
        before = landing.landed()
        landing.produce(mixed(4000, start))
        landing.until(lambda before=before: landing.landed() > before)  # type: ignore[misc] # mypy cannot infer it
        landing.kill("clickhouse")
        landing.produce(mixed(2000, start + 50_000))
        assert lander.poll() is None
        landing.restore()
    landing.stop_landers()
    landing.land_all()
    landing.assert_exact()


def test_two_landers_share_the_work_and_one_takes_over(landing: Bench) -> None:
    one, two = landing.lander(), landing.lander()
    landing.produce(mixed(4000, 400_000))
    one.kill()
    landing.produce(mixed(1000, 450_000))
    landing.until(lambda: landing.landed() == sum(landing.sent.values()))
    assert two.poll() is None
    three = landing.lander()
    landing.produce(mixed(2000, 460_000))
    two.send_signal(signal.SIGTERM)
    assert two.wait(30) == 0
    landing.until(lambda: landing.landed() == sum(landing.sent.values()))
    assert three.poll() is None
    landing.assert_exact()


@pytest.mark.slow
def test_a_lander_frozen_past_its_session_does_not_double_when_it_wakes(landing: Bench) -> None:
    frozen = landing.lander()
    before = landing.landed()
    landing.produce(mixed(3000, 500_000))
    landing.until(lambda: landing.landed() > before)
    frozen.send_signal(signal.SIGSTOP)
    successor = landing.lander()
    landing.produce(mixed(3000, 600_000))
    landing.until(lambda: landing.landed() == sum(landing.sent.values()))
    frozen.send_signal(signal.SIGCONT)
    landing.produce(mixed(1000, 700_000))
    landing.until(lambda: landing.landed() == sum(landing.sent.values()))
    time.sleep(2)  # a double would come from what the sleeper still has in hand
    assert frozen.poll() is None
    assert successor.poll() is None
    landing.assert_exact()
