import json
from pathlib import Path

from schemas.export import DIALECT, export, write
from schemas.topics import ALL
from streams.authoring.plan import shipped_plan
from streams.authoring.rulebook_file import contracts

PLAN = shipped_plan()


def test_every_contract_and_known_event_is_exported() -> None:
    names = export(PLAN, contracts()).keys()
    assert {f"plan/{event}" for event in PLAN.events} <= names
    assert {"events.Event", "rejects.Rejected", "touches.Touch", "inbound.SegmentItem"} <= names


def test_each_schema_names_its_dialect_and_resolves_its_references() -> None:
    for name, schema in export(PLAN, contracts()).items():
        assert schema["$schema"] == DIALECT, name
        text = json.dumps(schema)
        for target in text.split('"$ref": "')[1:]:
            definition = target.partition('"')[0].removeprefix("#/$defs/")
            assert definition in schema["$defs"], name


def test_write_leaves_one_readable_file_for_each_schema(tmp_path: Path) -> None:
    written = write(tmp_path, PLAN, contracts())
    assert len(written) == len(export(PLAN, contracts())) + 1
    assert json.loads((tmp_path / "plan/order_paid.json").read_text("utf-8"))["required"] == [
        "order_id",
        "amount",
    ]


def test_money_in_the_plan_is_a_number_of_yuan() -> None:
    schemas = export(PLAN, contracts())
    for event in PLAN.events:
        for field, schema in schemas[f"plan/{event}"]["properties"].items():
            if field in ("amount", "price"):
                assert (schema["x-unit"], schema["description"]) == ("yuan", "in yuan"), event


def test_the_asyncapi_document_names_every_topic_and_resolves_its_references(
    tmp_path: Path,
) -> None:
    write(tmp_path, PLAN, contracts())
    text = (tmp_path / "asyncapi.json").read_text("utf-8")
    document = json.loads(text)
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"].keys() == {topic.name for topic in ALL}
    for target in text.split('"$ref": "#/')[1:]:
        here = document
        for step in target.partition('"')[0].split("/"):
            here = here[step]
        assert here


def test_every_topic_of_json_has_its_payload_in_the_asyncapi_document(tmp_path: Path) -> None:
    write(tmp_path, PLAN, contracts())
    messages = json.loads((tmp_path / "asyncapi.json").read_text("utf-8"))["components"]["messages"]
    without = {topic.name for topic in ALL if "payload" not in messages[topic.name]}
    assert without == {"events.raw", "touches.ledger", "state.ingest", "state.engage"}
