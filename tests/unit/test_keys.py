import pytest
from pydantic import SecretStr, ValidationError

from schemas.signing import sign
from schemas.sources import Limit, Sources, WriteKey
from streams.sources.keys import Account, Bucket, Keys, unsigned
from streams.sources.records import Refusal

SIGNED = Account("server", "orders", b"secret")


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    clock = Clock()
    bucket = Bucket(Limit(per_s=10, burst=5), clock)
    assert [bucket.take(1) for _ in range(5)] == [0] * 5
    assert bucket.take(1) == pytest.approx(0.1)
    clock.now_s += 0.1
    assert bucket.take(1) == 0
    clock.now_s += 3600
    assert bucket.take(5) == 0
    assert bucket.take(1) > 0


def test_a_batch_over_the_burst_passes_on_credit_and_the_debt_is_waited_for() -> None:
    clock = Clock()
    bucket = Bucket(Limit(per_s=10, burst=5), clock)
    assert bucket.take(25) == 0
    assert bucket.take(1) == pytest.approx(2.1)
    clock.now_s += 2.1
    assert bucket.take(1) == 0


def test_a_refused_batch_takes_nothing() -> None:
    bucket = Bucket(Limit(per_s=10, burst=5), Clock())
    bucket.take(4)
    assert bucket.take(3) > 0
    assert bucket.take(1) == 0


def test_each_key_has_a_bucket_of_its_own_and_strangers_share_one() -> None:
    entry = WriteKey(source="app", name="a", limit=Limit(per_s=1, burst=1))
    keys = Keys(
        Sources(write_keys={"a": entry, "b": entry}, strangers=Limit(per_s=1, burst=2)), Clock()
    )
    one, other = keys.find("a"), keys.find("b")
    assert (keys.wait_s(one, 1), keys.wait_s(other, 1), keys.wait_s(one, 1)) == (0, 0, 1)
    assert [keys.wait_s(None, 1) for _ in range(3)] == [0, 0, 1]
    assert keys.find("c") is keys.find("") is keys.find(None) is None


def test_only_a_fresh_signature_over_the_very_body_passes() -> None:
    def check(stamp: str, signature: str, body: bytes) -> Refusal | None:
        headers = {"Siyu-Timestamp": stamp, "Siyu-Signature": signature}
        return unsigned(SIGNED, headers, body, now_s=1000)

    good = sign(b"secret", 1000, b"body")
    assert check("1000", good, b"body") is None
    for wrong in (
        check("1000", good, b"bodY"),
        check("1001", good, b"body"),
        check("1000", sign(b"other", 1000, b"body"), b"body"),
        check("1", sign(b"secret", 1, b"body"), b"body"),
        check("x", good, b"body"),
        check("1000", "ü", b"body"),
        unsigned(SIGNED, {}, b"body", now_s=1000),
    ):
        assert isinstance(wrong, Refusal)
        assert (wrong.status, wrong.code) == (401, "bad_signature")
    assert unsigned(Account("app", "a"), {}, b"body", now_s=1000) is None


def test_a_secret_that_ships_to_users_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="only for source server"):
        WriteKey(source="app", name="a", secret=SecretStr("s"))
    with pytest.raises(ValidationError, match="is empty"):
        WriteKey(source="server", name="a", secret=SecretStr(""))
