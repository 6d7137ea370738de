from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.touches import DeliveryStatus, Touch
from sinks.touches.ledger import Entry, Ledger, encode_entry

STATUSES: tuple[DeliveryStatus, ...] = ("sent", "failed", "unknown")
IDS = st.sampled_from(["a", "b", "c", "é"])
FINAL = st.builds(
    lambda touch_id, state: Entry(touch_id=touch_id, state=state, time_ms=1),
    IDS,
    st.sampled_from(STATUSES),
)
OPEN = st.builds(
    lambda touch_id, step: Entry(
        touch_id=touch_id, state="sending", time_ms=1, step=step, touch=_touch(touch_id)
    ),
    IDS,
    st.integers(0, 3),
)
LOGS = st.lists(OPEN | FINAL, max_size=30)


def _touch(touch_id: str) -> Touch:
    return Touch(
        touch_id=touch_id,
        rule="r",
        rule_version="1",
        user="u",
        via=["webhook"] * 4,
        template="t",
        time_ms=0,
    )


def _restored(log: Sequence[Entry]) -> Ledger:
    ledger = Ledger()
    for entry in log:
        assert ledger.apply_record(entry.touch_id.encode(), encode_entry(entry))
    return ledger


@given(LOGS)
def test_what_was_ever_written_is_known(log: list[Entry]) -> None:
    ledger = _restored(log)
    assert all(ledger.knows(entry.touch_id) for entry in log)
    assert len(ledger) == len({entry.touch_id for entry in log})


@given(LOGS)
def test_closed_is_for_ever(log: list[Entry]) -> None:
    closed = {entry.touch_id for entry in log if entry.state != "sending"}
    assert not closed & {entry.touch_id for entry in _restored(log).unresolved()}


@given(LOGS)
def test_an_open_touch_comes_back_whole_with_its_last_step(log: list[Entry]) -> None:
    closed = {entry.touch_id for entry in log if entry.state != "sending"}
    last = {entry.touch_id: entry for entry in log if entry.touch_id not in closed}
    assert {entry.touch_id: entry for entry in _restored(log).unresolved()} == last


@given(LOGS)
def test_compaction_changes_nothing(log: list[Entry]) -> None:
    # A sender never opens what is closed, so only such logs reach the topic.
    closed: set[str] = set()
    lawful: list[Entry] = []
    for entry in log:
        if entry.state != "sending":
            closed.add(entry.touch_id)
        elif entry.touch_id in closed:
            continue
        lawful.append(entry)
    latest = {entry.touch_id: entry for entry in lawful}
    whole, compacted = _restored(lawful), _restored(list(latest.values()))
    for entry in log:
        assert whole.knows(entry.touch_id) == compacted.knows(entry.touch_id)
    by_id = {entry.touch_id: entry for entry in compacted.unresolved()}
    assert {entry.touch_id: entry for entry in whole.unresolved()} == by_id


@given(st.binary(max_size=40), st.binary(max_size=40) | st.none(), LOGS)
def test_what_cannot_be_read_counts_as_closed(
    key: bytes, value: bytes | None, log: list[Entry]
) -> None:
    ledger = _restored(log)
    if not ledger.apply_record(key, value):
        touch_id = key.decode("utf-8", "backslashreplace")
        assert ledger.knows(touch_id)
        assert touch_id not in {entry.touch_id for entry in ledger.unresolved()}


@given(FINAL)
def test_a_final_entry_names_no_user(entry: Entry) -> None:
    assert set(msgspec.json.decode(encode_entry(entry))) == {"touchId", "state", "timeMs"}
