import json
from pathlib import Path

from schemas.catalogue import CATALOGUE
from schemas.export import DIALECT, export, write


def test_every_contract_and_known_event_is_exported() -> None:
    names = export().keys()
    assert {f"catalogue/{event}" for event in CATALOGUE} <= names
    assert {"events.Event", "rejects.Rejected", "touches.Touch", "inbound.SegmentItem"} <= names


def test_each_schema_names_its_dialect_and_resolves_its_references() -> None:
    for name, schema in export().items():
        assert schema["$schema"] == DIALECT, name
        text = json.dumps(schema)
        for target in text.split('"$ref": "')[1:]:
            definition = target.partition('"')[0].removeprefix("#/$defs/")
            assert definition in schema["$defs"], name


def test_write_leaves_one_readable_file_for_each_schema(tmp_path: Path) -> None:
    written = write(tmp_path)
    assert len(written) == len(export())
    assert json.loads((tmp_path / "catalogue/order_paid.json").read_text("utf-8"))["required"] == [
        "order_id", "amount",
    ]  # fmt: skip


def test_money_in_the_catalogue_is_a_number_of_yuan() -> None:
    for event, entry in CATALOGUE.items():
        for field in ("amount", "price"):
            if field in entry.model.model_fields:
                text = json.dumps(entry.model.model_json_schema()["properties"][field])
                assert "yuan" in text, event
                assert "yuan" in (entry.model.__doc__ or ""), event
