import json
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigInvalid
from schemas.events import Event
from schemas.plan import Plan, event_schema
from schemas.plandiff import diff
from schemas.raw import Envelope, RawRecord
from schemas.rejects import Reject
from schemas.sources import Source
from streams.authoring.plan import load_plan, read_plan, shipped_plan
from streams.core.intake.validate import Validator

RECEIVED_MS = 1_782_900_000_000


def plan(folder: Path, text: str) -> Plan:
    path = folder / "plan.yaml"
    path.write_text(text, "utf-8")
    return load_plan(path)


def judge(
    plan: Plan,
    properties: dict[str, Any],
    source: Source = "app",
    **more: Any,  # noqa: ANN401 - fields of an item
) -> Event | Reject:
    item = {"type": "track", "event": "tea", "userId": "u", "properties": properties, **more}
    envelope = Envelope(door="segment", source=source, account="a", received_at_ms=RECEIVED_MS)
    return Validator(b"k", plan).event(RawRecord(envelope, json.dumps(item).encode()), 0, 0)


def kept(plan: Plan, properties: dict[str, Any], **more: Any) -> Event:  # noqa: ANN401 - as above
    outcome = judge(plan, properties, **more)
    assert isinstance(outcome, Event), outcome
    return outcome


TEA = """
events:
  tea:
    properties:
      amount: {type: number, unit: yuan, min: 0, from: {amount_fen: fen}}
      took_s: {type: integer, unit: s, from: {took_ms: ms, took_min: min}}
      name: {type: string, max: 9}
      kind: {type: string, enum: [green, Oolong], synonyms: {绿茶: green}}
      receiver_tel: {type: string, pii: phone}
      note: {type: string, pii: secret}
"""


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"amount_fen": 9950}, {"amount": 99.5}),
        ({"amount_fen": 1}, {"amount": 0.01}),
        ({"amount_fen": 9950, "amount": 3}, {"amount_fen": 9950, "amount": 3}),
        ({"amount_fen": "9950"}, {"amount_fen": "9950"}),
        ({"amount_fen": True}, {"amount_fen": True}),
        ({"took_ms": 2000}, {"took_s": 2}),
        ({"took_min": 2}, {"took_s": 120}),
        ({"amount": 128}, {"amount": 128}),
        ({"name": "  毛峰\t"}, {"name": "毛峰"}),
        ({"kind": " GREEN "}, {"kind": "green"}),
        ({"kind": "oolong"}, {"kind": "Oolong"}),
        ({"kind": "绿茶"}, {"kind": "green"}),
        ({"kind": None}, {"kind": None}),
        ({"other": " x "}, {"other": " x "}),
        ({"note": "s3cret"}, {}),
    ],
)
def test_properties_are_brought_to_the_plan(
    tmp_path: Path, sent: dict[str, Any], found: dict[str, Any]
) -> None:
    event = kept(plan(tmp_path, TEA), sent)
    assert event.properties == found
    assert {k: type(v) for k, v in event.properties.items()} == {
        k: type(v) for k, v in found.items()
    }


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        ({"amount": -1}, "properties.amount: must be a number in yuan from 0"),
        ({"amount": "9"}, "properties.amount: must be a number in yuan from 0"),
        ({"amount": True}, "properties.amount: must be a number"),
        ({"amount_fen": -5}, "properties.amount: must be a number"),
        ({"took_ms": 1500}, "properties.took_s"),
        ({"name": "0123456789"}, "properties.name"),
        ({"kind": "black"}, "properties.kind"),
        ({"kind": 3}, "properties.kind"),
    ],
)
def test_what_breaks_an_enforced_plan_is_rejected_with_its_path(
    tmp_path: Path, sent: dict[str, Any], detail: str
) -> None:
    outcome = judge(plan(tmp_path, TEA), sent)
    assert isinstance(outcome, Reject)
    assert outcome.reason == "bad_property"
    assert outcome.detail.startswith(detail)


def test_a_planned_phone_is_kept_as_a_keyed_hash_alone(tmp_path: Path) -> None:
    event = kept(plan(tmp_path, TEA), {"receiver_tel": "13800138000"})
    assert "13800138000" not in str(event)
    assert len(event.properties["receiver_tel_hmac"]) == 64


def test_a_marking_plan_lets_it_pass_and_says_why(tmp_path: Path) -> None:
    text = TEA.replace("tea:", "tea:\n    policy: mark\n    sources: [server]")
    event = kept(plan(tmp_path, text), {"amount": "9", "note": "s3cret"})
    assert event.marks == ["off_plan"]
    assert event.properties == {"amount": "9"}
    assert event.context["siyu"]["removed"] == ["note"]
    assert "comes from server" in event.context["siyu"]["violations"][0]


def test_a_closed_event_loses_what_is_not_listed_and_names_it(tmp_path: Path) -> None:
    text = TEA.replace("tea:", "tea:\n    closed: true")
    sent = {"amount": 1, "surprise": 2, "phone": "13800138000"}
    event = kept(plan(tmp_path, text), sent)
    assert event.properties.keys() == {"amount", "phone_hmac"}
    assert event.context["siyu"] == {"removed": ["surprise"]}


@pytest.mark.parametrize(("rest", "reason"), [("mark", None), ("reject", "unplanned_event")])
def test_an_event_outside_the_plan_follows_the_defaults(
    tmp_path: Path, rest: str, reason: str | None
) -> None:
    outcome = judge(plan(tmp_path, f"defaults: {{unplanned: {rest}}}\nevents: {{}}"), {"x": 1})
    if isinstance(outcome, Reject):
        assert outcome.reason == reason
    else:
        assert (reason, outcome.marks) == (None, ["uncatalogued"])


@pytest.mark.parametrize(
    ("agent", "bot"),
    [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", True),
        ("Mozilla/5.0 (compatible; Baiduspider/2.0)", True),
        ("Mozilla/5.0 (X11; Linux) HeadlessChrome/120.0", True),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) MicroMessenger/8.0.42", False),
        ("Mozilla/5.0 (Linux; Android 12; CUBOT X50) Chrome/119", False),
    ],
)
def test_crawlers_are_marked_by_their_agent(agent: str, *, bot: bool) -> None:
    event = kept(Plan(), {}, context={"userAgent": agent})
    assert ("bot" in event.marks) is bot


@pytest.mark.parametrize(("said", "marked"), [(True, True), ("yes", False), (False, False)])
def test_a_self_test_is_marked(said: object, *, marked: bool) -> None:
    assert ("test" in kept(Plan(), {}, context={"test": said}).marks) is marked


@pytest.mark.parametrize(
    ("text", "line", "problem", "hint"),
    [
        ("events:\n  a:\n    propertis: {}", 3, "unknown key propertis", "properties"),
        (
            "events:\n  a:\n    properties:\n      x: {type: nubmer}",
            4,
            "cannot be nubmer",
            "number",
        ),
        ("events:\n  a:\n    properties:\n      x: {required: true}", 4, "type is missing", ""),
        (
            "events:\n  order_paid: {}\n  a: {like: order_payd}",
            3,
            "unknown event order_payd",
            "order_paid",
        ),
        ("events:\n  a: {like: b}\n  b: {like: a}", 2, "comes back", ""),
        ("events:\n  a: {sources: [apps]}", 2, "cannot be apps", "app"),
        (
            "events:\n  a:\n    properties:\n      x: {type: number, unit: yuan, from: {y: kg}}",
            4,
            "kg does not become yuan",
            "dimension",
        ),
        ("events:\n  a:\n    properties:\n      x: {type: string, unit: yuan}", 4, "unit", ""),
        (
            "events:\n  a:\n    properties:\n      x: {type: string, enum: [a], synonyms: {b: c}}",
            4,
            "c is not in the enum",
            "",
        ),
        (
            "events:\n  a:\n    properties:\n      x: {type: number, min: 3, max: 2}",
            4,
            "over max",
            "",
        ),
        ("events:\n  a:\n    properties:\n      x: {type: array, min: 3}", 4, "bound", ""),
        ("events:\n  a:\n    properties:\n      x: {type: string, min: -1}", 4, "below 0", ""),
        ("events:\n  a: {}\n  a: {}", 3, "stands here twice", ""),
        ("events: [", 1, "not YAML", ""),
    ],
)
def test_a_fault_is_told_with_its_line_and_a_hint(
    tmp_path: Path, text: str, line: int, problem: str, hint: str
) -> None:
    with pytest.raises(ConfigInvalid) as fault:
        plan(tmp_path, text)
    assert problem in fault.value.problem
    assert hint in fault.value.hint
    if "not YAML" not in problem:
        assert fault.value.line == line


def test_all_faults_of_all_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("events:\n  x: {closd: true}\n")
    (tmp_path / "b.yaml").write_text("events:\n  y: {like: z}\n  w: {like: z}\n")
    assert len(read_plan(tmp_path)[1]) == 3


def test_an_event_has_one_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("events:\n  x: {}\n")
    with pytest.raises(ConfigInvalid, match=r"b\.yaml:2.*stands in a\.yaml"):
        load_plan(tmp_path)


def test_the_shipped_plan_is_without_fault_and_every_property_is_typed() -> None:
    for event in shipped_plan().events.values():
        assert event.description, event.name
        assert set(event_schema(event)["properties"]) == set(event.properties)


BASE = """
events:
  tea:
    version: 1
    sources: [app, web]
    properties:
      amount: {type: number, required: true, unit: yuan, min: 0, max: 9}
      kind: {type: string, enum: [green, black]}
"""


@pytest.mark.parametrize(
    ("old", "new", "path", "breaking"),
    [
        ("tea:", "tee:", "", True),
        ("[app, web]", "[app]", "sources", True),
        ("[app, web]", "[app, web, server]", "sources", False),
        ("type: number, required: true", "type: number", "properties.amount.required", False),
        ("type: string,", "type: string, required: true,", "properties.kind.required", True),
        ("type: number", "type: integer", "properties.amount.type", True),
        ("unit: yuan", "unit: fen", "properties.amount.unit", True),
        ("min: 0", "min: 1", "properties.amount.min", True),
        ("min: 0", "min: -1", "properties.amount.min", False),
        ("max: 9", "max: 8", "properties.amount.max", True),
        (", max: 9", "", "properties.amount.max", False),
        ("[green, black]", "[green]", "properties.kind.enum", True),
        ("[green, black]", "[green, black, red]", "properties.kind.enum", False),
        ("kind:", "kinds:", "properties.kind", True),
        ("    properties:", "    policy: mark\n    properties:", "policy", False),
        ("    properties:", "    closed: true\n    properties:", "closed", True),
        ("kind: {type", "kind: {pii: phone, type", "properties.kind.pii", True),
    ],
)
def test_a_change_breaks_or_it_does_not(
    tmp_path: Path, old: str, new: str, path: str, *, breaking: bool
) -> None:
    before = plan(tmp_path, BASE)
    after = plan(tmp_path, BASE.replace(old, new, 1))
    assert diff(before, before) == []
    changes = [change for change in diff(before, after) if change.path == path]
    assert any(change.is_error for change in changes) is breaking
    announced = plan(tmp_path, BASE.replace(old, new, 1).replace("version: 1", "version: 2"))
    # Nothing can announce that an event is gone: nobody reads its version any more.
    assert any(change.is_error for change in diff(before, announced)) is (path == "")


def test_a_wrong_event_hides_no_other_fault_and_makes_up_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "events:\n  base: {properties: {x: {type: sting}}}\n  fine: {}\n  other: {like: nothing}\n"
    )
    (tmp_path / "b.yaml").write_text("events:\n  c: {like: base}\n  d: {like: fine}\n")
    _, faults = read_plan(tmp_path)
    assert [(Path(fault.where).name, fault.line) for fault in faults] == [
        ("a.yaml", 2),
        ("a.yaml", 4),
    ]
    assert "unknown event nothing" in faults[1].problem
