"""The recipe "add a door" of CONTRIBUTING, followed in a copy of the product."""

from pathlib import Path
from typing import Final

from tests.recipe_tree import Tree

_ITEM: Final = '''

class TillItem(BaseModel):
    """One sale of a till; ``at_ms`` is epoch ms."""

    model_config = ConfigDict(extra="ignore")

    sale: Id
    member: Id
    at_ms: EpochMs
'''
_PARSER: Final = '''"""A till's sale to a parsed item."""

from pydantic import ValidationError

from schemas.inbound import TillItem
from schemas.raw import RawRecord
from schemas.rejects import Reject
from streams.core.intake.parsed_item import ParsedItem
from streams.core.intake.reject_reasons import reject_of


def parse_till(raw: RawRecord) -> ParsedItem | Reject:
    """Return the parsed item of one sale."""
    try:
        item = TillItem.model_validate_json(raw.body)
    except ValidationError as error:
        return reject_of(error)
    return ParsedItem(
        message_id=item.sale, type="track", event="till_rung", original_ms=item.at_ms,
        sent_ms=raw.envelope.sent_at_ms, identities={"user_id": item.member}, context={},
        properties={}, traits={},
    )
'''
_IMPORT_PARSER: Final = "from streams.core.intake.parse_till import parse_till"
_DOOR: Final = '''"""The door of tills: one sale a request."""

from aiohttp import web

from streams.sources.budget import Hold, read_body
from streams.sources.edge import Edge, Refused
from streams.sources.records import Arrival, Refusal, accept


def routes(edge: Edge) -> list[web.RouteDef]:
    """Return the table of the paths."""

    async def sell(request: web.Request, hold: Hold, arrival: Arrival) -> web.Response:
        account = edge.keys.find(request.query.get("key"))
        if account is None:
            raise Refused(Refusal(401, "unknown_key", "no write key of this name"))
        cap_bytes = edge.settings.collect_max_body_bytes
        body, whole = await read_body(request, hold, cap_bytes=cap_bytes)
        if not whole:
            raise Refused(Refusal(413, "body_too_large", f"over {cap_bytes} bytes"))
        envelope = arrival.envelope("till", account.source, account.name)
        await edge.store("till", [accept(body, envelope)], hold)
        return web.Response()

    return [web.post("/till", edge.door("till", sell))]
'''
_SALE: Final = """
import asyncio
from unittest import mock
from aiohttp.test_utils import TestClient, TestServer
from schemas.raw import RawRecord, from_headers
from schemas.settings import Settings
from schemas.sources import Sources
from streams.authoring.plan import shipped_plan
from streams.core.intake.validate import Validator
from streams.sources import collect

class Kept:
    def __init__(self, *_, **__): self.records = []
    def start(self): pass
    async def stop(self): pass
    async def publish(self, records, *, timeout_s): self.records += records

async def sell(publisher):
    sources = Sources(write_keys={"k": {"source": "server", "name": "counter"}})
    with mock.patch.object(collect, "Publisher", lambda *_, **__: publisher):
        app = collect.build_app(Settings(), sources)
    async with TestClient(TestServer(app)) as client:
        for key in ("stranger", "k"):
            sale = {"sale": "s1", "member": "me", "at_ms": 1_782_900_000_000}
            answer = await client.post(f"/till?key={key}", json=sale)
            print(answer.status)

publisher = Kept()
asyncio.run(sell(publisher))
(record,) = publisher.records
raw = RawRecord(from_headers(record.headers), record.value)
event = Validator(b"key", shipped_plan()).event(raw, 0, 0)
print(event.door, event.account, event.event, event.user, event.message_id)
"""


def test_a_door_is_its_name_and_item_a_parser_and_its_routes(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.insert("schemas/inbound.py", '"wechat", "wecom"', ', "till"')
    tree.insert("schemas/inbound.py", 'Field("", alias="WelcomeCode")', _ITEM)
    tree.add("streams/core/intake/parse_till.py", _PARSER)
    validate, collect = "streams/core/intake/validate.py", "streams/sources/collect.py"
    tree.insert(validate, "import parse_sensors", f"\n{_IMPORT_PARSER}")
    tree.insert(validate, '"wecom": parse_wecom,', '\n    "till": parse_till,')
    tree.add("streams/sources/till.py", _DOOR)
    tree.insert(collect, "import Publisher", "\nfrom streams.sources import till")
    routes = "app.add_routes(sensors_http.routes(edge))"
    tree.insert(collect, routes, "\n    app.add_routes(till.routes(edge))")
    assert len(tree.touched) <= 5

    sold = tree.python("-W", "error", "-c", _SALE)
    assert sold.stdout.split("\n") == [
        "401",
        "200",
        "till counter till_rung user_id:me s1",
        "",
    ], sold.stderr
    tree.take("tests/laws/test_validate_laws.py")
    laws = tree.python("-m", "pytest", "-q", "-k", "event_or_a_reject", "tests/laws")
    assert laws.returncode == 0, laws.stdout
