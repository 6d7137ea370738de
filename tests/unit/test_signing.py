import hashlib
import hmac

import pytest

from schemas.signing import TOLERANCE_S, sign, verify

SECRET, BODY, NOW_S = b"k", '{"用户":"甲"}'.encode(), 1_700_000_000


def test_a_signature_covers_the_timestamp_and_the_body() -> None:
    expected = hmac.new(SECRET, f"{NOW_S}.".encode() + BODY, hashlib.sha256).hexdigest()
    assert sign(SECRET, NOW_S, BODY) == f"v1={expected}"


def test_what_was_signed_verifies_until_the_tolerance_ends() -> None:
    signature = sign(SECRET, NOW_S, BODY)
    for age_s in (0, TOLERANCE_S, -TOLERANCE_S):
        assert verify(SECRET, str(NOW_S), signature, BODY, now_s=NOW_S + age_s)
    for age_s in (TOLERANCE_S + 1, -TOLERANCE_S - 1):
        assert not verify(SECRET, str(NOW_S), signature, BODY, now_s=NOW_S + age_s)


@pytest.mark.parametrize(
    ("secret", "timestamp", "body"),
    [
        (b"other", str(NOW_S), BODY),
        (SECRET, str(NOW_S + 1), BODY),
        (SECRET, str(NOW_S), BODY + b" "),
        (SECRET, "", BODY),
        (SECRET, "soon", BODY),
        (SECRET, "9" * 5000, BODY),
    ],
)
def test_a_changed_part_does_not_verify(secret: bytes, timestamp: str, body: bytes) -> None:
    assert not verify(secret, timestamp, sign(SECRET, NOW_S, BODY), body, now_s=NOW_S)


@pytest.mark.parametrize("signature", ["", "v1=", "v2=00", "v1=é", "\ud800", "v1=" + "0" * 64])
def test_a_broken_signature_does_not_verify(signature: str) -> None:
    assert not verify(SECRET, str(NOW_S), signature, BODY, now_s=NOW_S)
