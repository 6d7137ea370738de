from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from streams.core.intake.dedupe import HORIZON_IDS, seen


@given(st.lists(st.integers(0, 600), max_size=900))
def test_seen_is_a_memory_of_the_last_ids(numbers: list[int]) -> None:
    model: deque[str] = deque(maxlen=HORIZON_IDS)
    packed: bytes | None = None
    for number in numbers:
        after = seen(packed, str(number))
        assert (after is None) == (str(number) in model)
        if after is not None:
            model.append(str(number))
            packed = after
            assert len(packed) == 8 * len(model)


@given(st.binary(max_size=400), st.text(max_size=40))
def test_an_id_is_seen_right_after_it_was_kept(noise: bytes, message_id: str) -> None:
    before = noise[: len(noise) // 8 * 8]
    after = seen(before, message_id)
    assert after is None or seen(after, message_id) is None


def test_a_hash_across_two_neighbours_is_not_a_duplicate() -> None:
    digest = seen(None, "a")
    assert digest is not None
    shifted = b"\x01" * 3 + digest + b"\x01" * 5
    assert seen(shifted, "a") == shifted + digest
    assert seen(shifted + digest, "a") is None


def test_an_id_is_forgotten_only_when_the_horizon_is_full() -> None:
    packed: bytes | None = None
    for number in range(HORIZON_IDS):
        packed = seen(packed, str(number))
    assert seen(packed, "0") is None
    packed = seen(packed, "one more")
    assert seen(packed, "0") is not None
    assert seen(packed, "1") is None
