"""Cutting against Python's own scanner, on both ways: by the decoder, and by brackets alone.

Only a body that the decoder refuses as a whole is cut by brackets, so a poisoned item put
into a body takes that way through the public door.
"""

import json
from collections.abc import Sequence

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.sources.bodies import cut_array, cut_object

SPACE = " \t\r\n"
ESCAPES = [r"\"", r"\\", r"\/", r"\b", r"\n", r"\u4e2d", r"\ud83c\udf75", r"\u0000", r"\u005d"]
scan = json.JSONDecoder().raw_decode

spaces = st.text(SPACE, max_size=2)
digits = st.text("0123456789", min_size=1, max_size=3)
numbers = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-"]),
    st.sampled_from(["0", "7", "10", "999999999999999999999"]),
    st.just("") | digits.map(".{}".format),
    st.sampled_from(["", "e0", "E+1", "e-12", "E999"]),
)
# What misleads a search for brackets, commas, colons and quotes that does not heed strings.
strings = st.lists(st.sampled_from([*"[]{},: a中", "\U0001f375", *ESCAPES]), max_size=6).map(
    lambda chunks: '"' + "".join(chunks) + '"'
)


def spaced(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("{}{}{}".format, spaces, inner, spaces)


def arrays(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    full = st.lists(spaced(items), min_size=1, max_size=4).map(",".join)
    return (full | spaces).map("[{}]".format)


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    # Few names, so that some stand twice in an object.
    names = spaced(st.sampled_from(['"a"', r'"\u0061"', '"b"', '""', '"]"']) | strings)
    members = st.builds("{}:{}".format, names, spaced(values))
    full = st.lists(members, min_size=1, max_size=4).map(",".join)
    return (full | spaces).map("{{{}}}".format)


values = st.recursive(
    st.sampled_from(["null", "true", "false"]) | numbers | strings,
    lambda inner: arrays(inner) | objects(inner),
    max_leaves=12,
)
# Neither the decoder nor orjson takes one of them; brackets and strings in them are closed.
poisons = st.sampled_from(
    [r'"\ud800"', '"\x00"', "+1", "nul", "{bare: [words]}", r'{"a":"\x"}', "[" * 3000 + "]" * 3000]
)


def skip_space(body: str, at: int) -> int:
    return at + len(body[at:]) - len(body[at:].lstrip(SPACE))


def items_by_scanner(body: str) -> list[bytes]:
    """Return the texts of the items of a valid array."""
    items, at = [], skip_space(body, body.index("[") + 1)
    while body[at] != "]":
        _, end = scan(body, at)
        items.append(body[at:end].encode())
        at = skip_space(body, end)
        at = skip_space(body, at + 1) if body[at] == "," else at
    return items


def members_by_scanner(body: str) -> dict[str, bytes]:
    """Return the texts of the values of a valid object; of a name that stands twice, the last."""
    members, at = {}, skip_space(body, body.index("{") + 1)
    while body[at] != "}":
        name, end = scan(body, at)
        start = skip_space(body, body.index(":", end) + 1)
        _, end = scan(body, start)
        members[name] = body[start:end].encode()
        at = skip_space(body, end)
        at = skip_space(body, at + 1) if body[at] == "," else at
    return members


def accepted(body: bytes) -> bool:
    """Tell whether a strict parser that shares no code with the cutting takes these bytes."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def assert_decoder_refuses(body: bytes, form: object) -> None:
    with pytest.raises((msgspec.MsgspecError, RecursionError)):
        msgspec.json.decode(body, type=form)


@given(spaced(arrays(values)))
def test_an_array_is_cut_into_the_exact_bytes_of_its_items(body: str) -> None:
    assert cut_array(body.encode()) == items_by_scanner(body)


@given(spaced(objects(values)))
def test_an_object_is_cut_into_the_exact_bytes_of_its_values(body: str) -> None:
    assert cut_object(body.encode()) == members_by_scanner(body)


@given(st.lists(values, max_size=4), poisons, st.lists(values, max_size=4), spaces)
def test_a_poisoned_item_is_cut_out_and_its_neighbours_are_as_without_it(
    before: list[str], poison: str, after: list[str], space: str
) -> None:
    items = f"{space},{space}".join([*before, poison, *after])
    body = f"{space}[{space}{items}{space}]{space}".encode()
    assert_decoder_refuses(body, list[msgspec.Raw])
    assert cut_array(body) == [item.encode() for item in [*before, poison, *after]]


@given(objects(values), poisons, spaces)
def test_a_poisoned_member_is_cut_out_and_its_neighbours_are_as_without_it(
    healthy: str, poison: str, space: str
) -> None:
    expected = members_by_scanner(healthy) | {"poisoned": poison.encode()}
    rest = "," + healthy[1:] if healthy[1:-1].strip(SPACE) else "}"
    body = (space + '{"poisoned"' + f"{space}:{space}{poison}{space}{rest}{space}").encode()
    assert_decoder_refuses(body, dict[str, msgspec.Raw])
    # A name may stand in the healthy part as well, which is the later one.
    assert cut_object(body) == expected | members_by_scanner(healthy)


def rejoins(body: bytes, items: Sequence[bytes]) -> bool:
    """Tell whether a body is brackets, these items, a comma between each two, and space."""
    space = SPACE.encode()
    rest = body.strip(space)
    for number, item in enumerate(items):
        opener = b"," if number else b"["
        if rest[:1] != opener or not rest[1:].lstrip(space).startswith(item):
            return False
        rest = rest[1:].lstrip(space)[len(item) :].lstrip(space)
    return (rest if items else rest.replace(b"[", b"", 1).lstrip(space)) == b"]"


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[str]) -> bytes:
    """A body with some bytes taken out, put in or changed: mostly still nearly JSON."""
    body = bytearray(draw(bodies).encode())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        put = draw(st.sampled_from([b"", *(bytes([c]) for c in b'[]{}",:\\ 0e-n\x00\xff\xc3')]))
        body[at : at + draw(st.integers(0, 1))] = put
    return bytes(body)


@given(damaged(arrays(values)))
@example(b"[1]]")
@example(b'["a]')
@example(b"[1,]")
@example(b"[1 2]")
@example(b"[{]}")
@example(b"[1}")
def test_what_a_strict_parser_refuses_is_not_cut_or_has_an_item_that_it_refuses(
    body: bytes,
) -> None:
    items = cut_array(body)
    if items is not None:
        assert rejoins(body, items)
        assert all(items)
    taken = items is not None and all(map(accepted, items))
    assert taken == (body.strip(SPACE.encode()).startswith(b"[") and accepted(body))


@given(damaged(objects(values)))
@example(b'{"a":1}}')
@example(b'{"a":1,}')
@example(b'{"a" 1}')
def test_of_an_object_that_a_strict_parser_takes_no_member_is_lost(body: bytes) -> None:
    members = cut_object(body)
    if body.strip(SPACE.encode()).startswith(b"{") and accepted(body):
        assert members == members_by_scanner(body.decode())
    elif members is not None:
        assert all(value in body for value in members.values())


@given(st.binary(max_size=200))
def test_any_bytes_are_cut_or_refused(noise: bytes) -> None:
    for body in (noise, b"[" + noise + b"]"):
        items = cut_array(body)
        assert items is None or rejoins(body, items)
    for value in (cut_object(b"{" + noise + b"}") or {}).values():
        assert value in noise
