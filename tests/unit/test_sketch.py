from functools import reduce
from math import sqrt

import pytest

from streams.core.tags.sketch import EMPTY, estimate, hash_of, registered


def sketch(first: int, last: int) -> bytes:
    return reduce(registered, (hash_of(f"sku{i}") for i in range(first, last)), EMPTY)


def test_a_sketch_of_nothing_has_seen_nothing() -> None:
    assert estimate(EMPTY) == 0


@pytest.mark.parametrize("different", [17, 40, 100, 400, 2000, 20_000])
def test_the_standard_error_is_what_is_said(different: int) -> None:
    runs = range(40)
    errors = [
        estimate(sketch(run * different, (run + 1) * different)) / different - 1 for run in runs
    ]
    spread = sqrt(sum(error**2 for error in errors) / len(errors))
    # 0.13, give or take what 40 runs of it vary.
    assert spread < 0.18
    assert abs(sum(errors)) / len(errors) < 0.06


def test_a_sketch_is_64_bytes_whatever_it_has_seen_and_the_same_again_moves_nothing() -> None:
    full = sketch(0, 3000)
    assert len(full) == 64
    assert registered(full, hash_of("sku7")) == full


def test_the_greater_of_each_register_is_the_sketch_of_both() -> None:
    assert bytes(map(max, sketch(0, 500), sketch(300, 900))) == sketch(0, 900)
