import json

from hypothesis import given
from hypothesis import strategies as st

from streams.sources.bodies import _cut_by_hand, cut_array, cut_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(st.lists(JSON), st.booleans())
def test_both_ways_of_cutting_agree(items: list[object], ascii_only: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    body = json.dumps(items, ensure_ascii=ascii_only).encode()
    assert cut_array(body) == _cut_by_hand(body, b"[")
    assert [json.loads(item) for item in cut_array(body) or []] == items


@given(st.binary(max_size=200))
def test_any_bytes_are_cut_or_refused(noise: bytes) -> None:
    for body in (noise, b"[" + noise + b"]", b"{" + noise + b"}"):
        cut_array(body)
        cut_object(body)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_what_is_cut_is_found_in_the_body_in_order(noise: list[bytes]) -> None:
    body = b"[" + b",".join(noise) + b"]"
    at = 0
    for item in cut_array(body) or []:
        at = body.index(item, at) + len(item)
