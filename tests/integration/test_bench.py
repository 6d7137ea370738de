"""The benches prove that their engines did the same work; a small run of each."""

import pytest
from clickhouse_driver import Client
from kafka import KafkaAdminClient

from benchmarks import bi, land, restore
from benchmarks.runtime import harness, job
from deploy.local.stack import StackInfo
from sinks.clickhouse.query import names

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_data_is_the_same_each_time_and_reaches_the_touch_rule() -> None:
    first, second = job.Expected(), job.Expected()
    assert list(job.make(20_000, 500, first)) == list(job.make(20_000, 500, second))
    assert first == second
    assert first.touches
    assert sum(first.counts.values()) == first.events == 20_000


def test_engines_do_equal_work_and_topics_are_deleted(kafka_admin: KafkaAdminClient) -> None:
    found = harness.run(vs=["aiokafka"], events=20_000, users=500, rounds=1, quiet=True)
    assert found["checks"]["touch counts equal"]
    assert found["checks"]["state counts equal"]
    assert found["results"]["siyu"]["counted"] == [20_000]
    assert found["results"]["aiokafka"]["touches"] == found["results"]["siyu"]["touches"]
    assert not [name for name in kafka_admin.list_topics() if name.startswith("bench-")]


@pytest.mark.usefixtures("stack")
def test_restored_users_are_found() -> None:
    found = restore.run(users=5000, rounds=1, quiet=True)
    assert found["checks"]["sampled users are there"]
    assert found["results"]["restore"]["users_found"] == [1000]


def test_every_question_is_asked_over_what_was_filled(stack: StackInfo) -> None:
    found = bi.run(events=20_000, rounds=1, quiet=True)
    assert found["results"].keys() == set(names())
    assert found["data"]["events"] > 15_000
    assert found["data"]["decisions"] > 1000
    silent = {name for name, row in found["results"].items() if not row["rows"]}
    assert silent == {"rejects_by_reason"}
    client = Client.from_url(stack.clickhouse)
    left = client.execute("SELECT count() FROM system.databases WHERE startsWith(name, 'bench')")
    client.disconnect()
    assert left == [(0,)]


def test_three_landers_land_each_event_once() -> None:
    found = land.run(events=200_000, rounds=1, quiet=True)
    assert all(row["each_row_once"] for row in found["results"].values())
    assert found["results"].keys() >= {"siyu", "rows"}
