import pytest

from streams.core.intake.identify import Identifier
from streams.runtime.serving.identifiers import candidates, from_body

KEY = Identifier(b"key")
HMAC = "ab" * 32


@pytest.mark.parametrize(
    ("typed", "stands_for"),
    [
        ("user_id:me", ["user_id:me"]),
        ("openid:wx1:o1", ["openid:wx1:o1"]),
        ("me", ["user_id:me", "unionid:me", "device_id:me", "anonymous_id:me"]),
        (HMAC, [f"phone_hmac:{HMAC}", f"email_hmac:{HMAC}"]),
        ("user_id:", []),
        ("", []),
    ],
)
def test_an_identifier_stands_for_its_kind_or_for_all_that_it_may_be(
    typed: str, stands_for: list[str]
) -> None:
    assert candidates(typed) == stands_for


def test_a_bare_openid_is_known_by_its_appid() -> None:
    assert "openid:wx1:o1" in candidates("wx1:o1")
    # What a bare value was taken for is found again by the worker that it is forwarded to.
    assert candidates(candidates("wx1:o1")[0].partition(":")[2]) == candidates("wx1:o1")


@pytest.mark.parametrize("phone", ["13800138000", "+86 138-0013-8000", 13800138000])
def test_a_phone_in_clear_becomes_the_hmac_that_the_worker_keeps(phone: object) -> None:
    assert from_body({"phone": phone}, KEY) == f"phone_hmac:{KEY.hmac_of('phone', '13800138000')}"


def test_an_email_in_clear_becomes_its_hmac_whatever_its_case() -> None:
    found = from_body({"email": "A@b.cn"}, KEY)
    assert found == f"email_hmac:{KEY.hmac_of('email', 'a@b.cn')}"


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"phone": "1"},
        {"user_id": ""},
        {"user_id": 7},
        {"colour": "red"},
        {"user_id": "a", "unionid": "b"},
    ],
)
def test_a_body_without_exactly_one_identifier_names_nobody(body: object) -> None:
    assert from_body(body, KEY) is None


def test_without_a_key_a_phone_names_nobody() -> None:
    assert from_body({"phone": "13800138000"}, None) is None
    assert from_body({"identifier": "me"}, None) == "me"
