"""Recorded bodies of each front door and the canonical JSON that they become."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.events import Event, decode_event, encode_event
from schemas.raw import Envelope, RawRecord
from schemas.rejects import Reject
from streams.authoring.plan import shipped_plan
from streams.core.intake.validate import Validator

BODIES = sorted((Path(__file__).parent / "bodies").glob("*.json"))


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    raw = RawRecord(msgspec.convert(case["envelope"], Envelope), case["body"].encode())
    got = Validator(b"golden-key", shipped_plan()).event(raw, 3, 7)
    if isinstance(got, Reject):
        return {"reject": msgspec.to_builtins(got)}
    return {"event": decode_event(encode_event(got))}


@pytest.mark.parametrize("path", BODIES, ids=lambda path: str(path.stem))
def test_a_recorded_body_becomes_its_canonical_event(path: Path) -> None:
    case = json.loads(path.read_text("utf-8"))
    expect = case["expect"]
    if "event" in expect:  # what is at its default is spelled out here, but not on the wire
        expect = {"event": msgspec.convert(expect["event"], Event)}
    assert outcome(case) == expect


def test_each_door_has_recorded_bodies() -> None:
    assert {path.stem.partition("_")[0] for path in BODIES} == {"segment", "sensors", "wechat"}
