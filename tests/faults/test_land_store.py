"""ClickHouse cut off, killed and frozen under load: an insert comes again and counts once."""

import signal
import time

import pytest

from tests.land_harness import Bench, mixed
from tests.land_proxy import Fault

pytestmark = [pytest.mark.integration, pytest.mark.faults]

CUTS = 12


def _deduplicated(landing: Bench) -> int:
    """Return how many blocks ClickHouse itself dropped since it started."""
    query = "SELECT sum(value) FROM system.events WHERE event = 'DuplicatedInsertedBlocks'"
    return int(landing.ask(query)[0][0])


def test_an_answer_lost_after_the_insert_was_taken_stores_nothing_twice(landing: Bench) -> None:
    with landing.proxy() as proxy:
        before = _deduplicated(landing)
        proxy.fail_next(Fault.CUT_ANSWER, CUTS)
        landing.produce(mixed(4000))
        landing.land_all(url=proxy.url)
        cut = [insert for insert in proxy.inserts if insert.taken_then_cut]
        again = proxy.retried()
    # The rows stood in ClickHouse when the answer was cut, and the insert came once more.
    assert len(cut) == CUTS
    assert {insert.token for insert in cut} <= again
    assert _deduplicated(landing) - before >= CUTS
    landing.assert_exact()


def test_a_connection_cut_amid_the_rows_loses_none(landing: Bench) -> None:
    with landing.proxy() as proxy:
        proxy.fail_next(Fault.CUT_ROWS, CUTS)
        landing.produce(mixed(4000, 100_000))
        landing.land_all(url=proxy.url)
        assert not proxy.faults_left
        assert len(proxy.retried()) >= CUTS / 2  # a retry may be cut as well
    landing.assert_exact()


def test_clickhouse_killed_with_inserts_unanswered_counts_them_once(landing: Bench) -> None:
    with landing.proxy() as proxy:
        lander = landing.lander(url=proxy.url)
        for round_ in range(3):
            with proxy.holding_answers(lost=True) as held:
                landing.produce(mixed(2000, 200_000 + round_ * 10_000))
                landing.until(lambda held=held: bool(held()))  # type: ignore[misc] # mypy cannot infer it
                unanswered = {token: proxy.times_sent(token) for token in held()}
                landing.kill("clickhouse")
            assert lander.poll() is None
            landing.restore()
            # Its rows may stand there all the same: that all are there does not mean it came again.
            landing.until(
                lambda before=unanswered: all(  # type: ignore[misc] # as above
                    proxy.times_sent(token) > times for token, times in before.items()
                )
            )
            landing.until(lambda: landing.landed() == sum(landing.sent.values()))
    landing.assert_exact()


def test_clickhouse_frozen_past_the_patience_of_a_lander_counts_once(landing: Bench) -> None:
    with landing.proxy() as proxy:
        # Short of the default of a minute, so that inserts time out while it is frozen.
        lander = landing.lander(url=f"{proxy.url}?send_receive_timeout=2&sync_request_timeout=2")
        for round_ in range(2):
            before, seen = landing.landed(), len(proxy.inserts)
            landing.produce(mixed(6000, 300_000 + round_ * 10_000))
            landing.until(lambda before=before: landing.landed() > before)  # type: ignore[misc] # mypy cannot infer it
            landing.signal_clickhouse(signal.SIGSTOP)
            try:
                landing.produce(mixed(1000, 350_000 + round_ * 10_000))
                time.sleep(7)  # at least two time-outs of the driver
                assert lander.poll() is None
            finally:
                landing.signal_clickhouse(signal.SIGCONT)
            landing.until(lambda: landing.landed() == sum(landing.sent.values()))
            assert {insert.token for insert in proxy.inserts[seen:]} & proxy.retried()
    landing.assert_exact()


def test_a_lander_killed_while_clickhouse_is_frozen_leaves_its_insert_to_a_twin(
    landing: Bench,
) -> None:
    with landing.proxy() as proxy:
        lander = landing.lander(url=proxy.url)
        before = landing.landed()
        landing.produce(mixed(6000, 400_000))
        landing.until(lambda: landing.landed() > before)
        landing.signal_clickhouse(signal.SIGSTOP)
        try:
            time.sleep(1)
            lander.kill()  # what it sent lies in the socket of the frozen server
            landing.expel()
            proxy.era = 1
            landing.lander(url=proxy.url)
            time.sleep(3)
        finally:
            landing.signal_clickhouse(signal.SIGCONT)
        landing.until(lambda: landing.landed() == sum(landing.sent.values()))
        assert [0, 1] in [sorted(set(eras)) for eras in proxy.eras_by_token().values()]
    landing.assert_exact()
