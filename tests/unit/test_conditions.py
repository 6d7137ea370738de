import pytest

from schemas.conditions import parse, parse_ref
from schemas.events import Event
from schemas.faults import Fault
from streams.core.language.compile import audience, getter, predicate
from tests.engine_story import event

EVENT = event(
    "cart_added",
    0,
    amount=99.5,
    n=3,
    sku="sku-1",
    gift=True,
    nested={"a": {"b": 7}},
    tags=["x", 2],
    empty="",
    zero=0,
    odd=[1],
)


def holds(condition: dict[str, object], one: Event = EVENT) -> bool:
    check = predicate(parse(condition, (), tags=False))
    return check is None or check(one)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, True),
        ({"properties.amount": 99.5}, True),
        ({"properties.n": {"gte": 3}}, True),
        ({"properties.n": {"gt": 3}}, False),
        ({"properties.n": {"gt": 2, "lt": 3}}, False),
        ({"properties.n": {"gt": 2, "lte": 3}}, True),
        ({"properties.sku": {"starts_with": "sku-"}}, True),
        ({"properties.sku": {"gte": "sku-0"}}, True),
        ({"properties.n": {"starts_with": "3"}}, False),
        ({"properties.sku": {"in": ["sku-1", 4]}}, True),
        ({"properties.odd": {"in": ["sku-1", 4]}}, False),
        ({"properties.tags": {"has": "x"}}, True),
        ({"properties.tags": {"has": "y"}}, False),
        ({"properties.sku": {"has": "sku-1"}}, False),
        ({"properties.nested.a.b": {"eq": 7}}, True),
        ({"properties.sku.a.b": {"eq": 7}}, False),
        ({"properties.empty": {"exists": True}}, True),
        ({"properties.zero": {"eq": 0}}, True),
        ({"event": "cart_added", "source": {"in": ["app", "web"]}}, True),
        ({"any": [{"properties.n": 4}, {"properties.n": 3}]}, True),
        ({"all": [{"properties.n": 4}, {"properties.n": 3}]}, False),
        ({"not": {"properties.n": 4}}, True),
        ({"not": {"all": [{"properties.n": 3}, {"not": {"properties.sku": "z"}}]}}, False),
        ({"properties.n": {"lt": "$event.properties.amount"}}, True),
    ],
)
def test_conditions_hold_as_they_read(condition: dict[str, object], *, expected: bool) -> None:
    assert holds(condition) is expected


@pytest.mark.parametrize("op", ["eq", "ne", "gt", "gte", "lt", "lte", "starts_with", "has"])
def test_a_comparison_on_a_missing_field_is_false(op: str) -> None:
    assert not holds({"properties.nowhere": {op: "x"}})
    assert not holds({"properties.nowhere.deeper": {op: "x"}})
    assert not holds({"properties.sku": {op: "$event.properties.nowhere"}})


def test_only_exists_false_holds_for_a_missing_field() -> None:
    assert holds({"properties.nowhere": {"exists": False}})
    assert not holds({"properties.nowhere": {"in": ["x"]}})


@pytest.mark.parametrize(
    "condition",
    [
        {"properties.gift": 1},
        {"properties.gift": {"gte": 1}},
        {"properties.n": "3"},
        {"properties.n": {"gt": "2"}},
        {"properties.sku": {"gt": 2}},
        {"properties.gift": {"in": [1]}},
        {"properties.tags": {"has": "2"}},
    ],
)
def test_values_of_another_type_never_compare(condition: dict[str, object]) -> None:
    assert not holds(condition)


def test_ne_holds_for_another_value_of_any_type() -> None:
    assert holds({"properties.n": {"ne": 4}})
    assert holds({"properties.gift": {"ne": 1}})
    assert not holds({"properties.n": {"ne": 3}})


@pytest.mark.parametrize(
    ("condition", "place", "problem"),
    [
        ({"properties.n": {"gtee": 3}}, ("properties.n", "gtee"), "unknown operator"),
        ({"property.n": 3}, ("property.n",), "not a path"),
        ({"tag.x": 3}, ("tag.x",), "audience only"),
        ({"properties.n": [1, 2]}, ("properties.n",), "a list is not"),
        ({"properties.n": None}, ("properties.n",), "null"),
        ({"properties.n": {"in": []}}, ("properties.n", "in"), "wants a list"),
        ({"properties.n": {"exists": "yes"}}, ("properties.n", "exists"), "true or false"),
        ({"properties.n": {"gt": float("nan")}}, ("properties.n", "gt"), "not a number"),
        ({"all": {"properties.n": 3}}, ("all",), "wants a list"),
        ({"all": [{"properties.n": 3}, 4]}, ("all", 1), "a condition is a mapping"),
        ({"properties.__class__.x": 3, "__class__": 4}, ("__class__",), "not a path"),
    ],
)
def test_a_wrong_condition_is_refused_where_it_stands(
    condition: dict[str, object], place: tuple[str | int, ...], problem: str
) -> None:
    with pytest.raises(Fault, match=problem) as fault:
        parse(condition, (), tags=False)
    assert fault.value.place == place


def test_texts_of_authors_are_constants_and_never_code() -> None:
    nasty = '") or __import__("os").system("true") or ("'
    assert not holds({f"properties.{nasty}": {"eq": nasty}})
    assert getter(parse_ref("properties.a'b\"\\n", (), tags=False))(EVENT) is None


def test_an_audience_notes_what_it_saw_in_order_and_stops_where_it_knows() -> None:
    made = audience(
        parse(
            {"all": [{"tag.orders": {"gte": 1}}, {"properties.n": {"gt": 5}}, {"tag.gmv": 0}]},
            (),
            tags=True,
        )
    )
    assert made is not None
    seen: list[tuple[str, object, object]] = []

    def note(index: int, left: object, right: object, ok: object) -> object:
        seen.append((made.texts[index], left, right))
        return ok

    assert not made.holds(EVENT, {"orders": 2}.get, note)
    assert seen == [("tag.orders gte 1", 2, 1), ("properties.n gt 5", 3, 5)]
