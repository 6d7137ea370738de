import json
from itertools import permutations, product
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.plan import ANY_SOURCE, UNITS, Plan, PlannedEvent, PropertySpec, PropertyType
from schemas.plandiff import diff
from streams.authoring.plan import shipped_plan
from streams.core.intake.contract import Contract

KINDS = ("string", "id", "number", "integer", "boolean", "array", "object")
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
specs = st.builds(
    PropertySpec,
    type=st.sampled_from(KINDS),
    required=st.booleans(),
    pii=st.none() | st.just("personal"),
)


def one_event(properties: dict[str, PropertySpec]) -> Plan:
    event = PlannedEvent("e", "", 1, ANY_SOURCE, "enforce", closed=False, properties=properties)
    return Plan({"e": event})


plans = st.dictionaries(st.sampled_from("abcd"), specs).map(one_event)
items = st.dictionaries(st.sampled_from("abcdef"), values)


def contract(plan: Plan) -> Contract:
    return Contract(plan.events["e"])


@given(plans, items)
def test_cleaning_twice_is_cleaning_once(plan: Plan, item: dict[str, Any]) -> None:
    once, problem = contract(plan).clean(dict(item))
    if problem is None:
        assert contract(plan).clean(dict(once)) == (once, None)
        assert json.dumps(once) == json.dumps(contract(plan).clean(once)[0])


@given(plans, items)
def test_what_the_plan_does_not_name_is_left_alone(plan: Plan, item: dict[str, Any]) -> None:
    cleaned, _ = contract(plan).clean(dict(item))
    named = plan.events["e"].properties.keys()
    assert {k: v for k, v in cleaned.items() if k not in named} == {
        k: v for k, v in item.items() if k not in named
    }


BOUNDED: tuple[PropertyType, ...] = ("integer", "number", "string", "id")
# All specs of one property over a few bounds and words, so that any two can be compared.
SPECS = [
    PropertySpec(type=kind, required=required, min=low, max=high)
    for kind, required, low, high in product(BOUNDED, (False, True), (None, 1, 2), (None, 3, 4))
] + [
    PropertySpec(type="string", required=required, enum=enum)
    for enum, required in product((["tea"], ["cup"], ["tea", "cup"]), (False, True))
]
VALUES: list[Any] = [
    None,
    0,
    1,
    2,
    3,
    4,
    9,
    1.5,
    2.5,
    "",
    "a",
    "ab",
    "tea",
    "cup",
    "abcd",
    "abcde",
    True,
    [],
]
SENT = [{}, *({"a": value} for value in VALUES)]


def test_a_change_that_is_not_breaking_rejects_no_item_that_passed() -> None:
    plans = [one_event({"a": spec}) for spec in SPECS]
    passed = [
        {n for n, item in enumerate(SENT) if contract(plan).clean(dict(item))[1] is None}
        for plan in plans
    ]
    harmless = 0
    for (old, taken), (new, still_taken) in permutations(zip(plans, passed, strict=True), 2):
        if not any(change.breaking for change in diff(old, new)):
            harmless += 1
            assert taken <= still_taken, (old, new, taken - still_taken)
    assert harmless > len(SPECS)


@given(plans, specs, items)
def test_a_new_property_rejects_an_item_only_for_that_property(
    old: Plan, added: PropertySpec, item: dict[str, Any]
) -> None:
    new = one_event({**old.events["e"].properties, "e": added})
    assert [change.breaking for change in diff(old, new)] == [added.required]
    if contract(old).clean(dict(item))[1] is None:
        problem = contract(new).clean(dict(item))[1]
        if problem is not None:
            assert problem.detail.startswith("properties.e")
            assert added.required or item["e"] is not None


@given(st.integers(0, 10**12), st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(UNITS)))
def test_a_unit_there_and_back_is_the_same_value(value: int, one: str, two: str) -> None:
    if UNITS[one][0] != UNITS[two][0]:  # type: ignore[index] # sampled from its keys
        return

    def into(unit: str, other: str, amount: float) -> float:
        spec = PropertySpec.model_validate({"type": "number", "unit": unit, "from": {"y": other}})
        converted: float = contract(one_event({"x": spec})).clean({"y": amount})[0]["x"]
        return converted

    there = into(one, two, value)
    assert abs(into(two, one, there) - value) <= 1e-9 * max(1, value)


def test_the_folder_of_the_shipped_plan_is_what_the_wheel_carries() -> None:
    folder = Path(__file__).resolve().parents[2] / "deploy" / "plan"
    assert len(list(folder.glob("*.yaml"))) >= 1
    assert len(shipped_plan().events) > 40
