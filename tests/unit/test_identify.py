from typing import Any

import pytest

from schemas.identities import canonical_user
from schemas.rejects import Reject
from streams.core.intake.clean import Cleaner
from streams.core.intake.identify import Identifier, normal_email, normal_phone

IDENTIFIER = Identifier(b"unit-key")


def identities(**given: object) -> dict[str, str]:
    outcome = IDENTIFIER.identities(given)
    assert not isinstance(outcome, Reject), outcome
    return outcome[0]


@pytest.mark.parametrize(
    "spelling",
    [
        "13800138000",
        13800138000,
        "138 0013 8000",
        "+86 138-0013-8000",
        "008613800138000",
        "8613800138000",
        "(+86)13800138000",
        "１３８００１３８０００",
    ],
)
def test_a_mobile_number_has_one_normal_form(spelling: object) -> None:
    assert normal_phone(spelling) == "8613800138000"


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [
        ("010-12345678", "861012345678"),
        ("+1 415 555 2671", "14155552671"),
        ("12", None),
        ("", None),
        (True, None),
        (1.5, None),
        (["13800138000"], None),
        ("1" * 40, None),
    ],
)
def test_other_numbers_keep_their_country_or_are_none(spelling: object, normal: str | None) -> None:
    assert normal_phone(spelling) == normal


def test_an_email_is_compared_in_lower_case() -> None:
    assert normal_email(" Li.Lei@Example.COM ") == "li.lei@example.com"
    assert normal_email("li.lei") is None


def test_the_hmac_depends_on_the_key_and_not_on_the_spelling() -> None:
    one = IDENTIFIER.hmac_of("phone", "138 0013 8000")
    assert one == IDENTIFIER.hmac_of("phone", "+8613800138000")
    assert one != Identifier(b"other").hmac_of("phone", "13800138000")
    assert identities(phone="13800138000") == {"phone_hmac": one}


@pytest.mark.parametrize(
    "placeholder",
    ["", "  ", "null", "None", "UNDEFINED", "0", 0, "[object Object]", None, "anonymous"],
)
def test_a_placeholder_is_nobody(placeholder: object) -> None:
    assert identities(user_id=placeholder, anonymous_id="a") == {"anonymous_id": "a"}


def test_an_openid_that_the_client_did_not_have_is_nobody() -> None:
    assert identities(openid="wx1:undefined", user_id="u") == {"user_id": "u"}


def test_a_user_id_is_never_hashed() -> None:
    assert identities(user_id="13800138000") == {"user_id": "13800138000"}


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("openid", "o6", "bad_identity"),
        ("openid", ":o6", "bad_identity"),
        ("phone_hmac", "138", "bad_identity"),
        ("user_id", ["u"], "bad_identity"),
        ("user_id", True, "bad_identity"),
        ("user_id", "u" * 257, "too_long"),
    ],
)
def test_a_malformed_identifier_is_refused(kind: str, value: object, reason: str) -> None:
    outcome = IDENTIFIER.identities({kind: value})
    assert isinstance(outcome, Reject)
    assert outcome.reason == reason


def test_the_strongest_identifier_names_the_user() -> None:
    found = identities(anonymous_id="a", openid="wx1:o", unionid="un", device_id="d")
    assert canonical_user(found) == "unionid:un"


def test_entries_of_no_known_kind_are_handed_back() -> None:
    assert IDENTIFIER.identities({"user_id": "u", "crm": 7}) == ({"user_id": "u"}, {"crm": 7})


@pytest.mark.parametrize(
    ("tree", "clean"),
    [
        ({"mobile": True}, {"mobile": True}),
        ({"phone": None}, {"phone": None}),
        ({"phone": "not one"}, {}),
        ({"email": {"a": "a@b.c"}}, {}),
        ({"a": [{"mail": 1}]}, {"a": [{}]}),
    ],
)
def test_what_stands_under_a_personal_key_is_hidden_or_removed(
    tree: dict[str, Any], clean: dict[str, Any]
) -> None:
    assert Cleaner(IDENTIFIER).clean("properties", tree) is None
    assert tree == clean
