import base64
import json
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from kafka.admin import ConfigResource, KafkaAdminClient
from segment.analytics.client import Client as SegmentClient
from sensorsanalytics import BatchConsumer, SensorsAnalytics
from wechatpy.crypto import WeChatCrypto
from wechatpy.utils import WeChatSigner

from schemas import topics
from schemas.errors import BrokerUnavailable
from schemas.settings import Settings
from streams.commands.broker import ensure_topics
from streams.sources.producer.producer import SiyuProducer
from tests.collect_harness import (
    APPID,
    NEW_AES,
    OLD_AES,
    TOKEN,
    Answer,
    Dropped,
    Edge,
    Stored,
    Tap,
    collector,
    free_port,
    ready,
    until,
)

pytestmark = pytest.mark.integration
TIME, NONCE = "1714037059", "486452656"


@pytest.fixture(scope="module")
def broker(kafka: str) -> str:
    ensure_topics(Settings(kafka=kafka))
    return kafka


@pytest.fixture(scope="module")
def edge(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with collector(broker, tmp_path_factory.mktemp("edge")) as running:
        until(lambda: ready(running), "the edge is ready")
        yield running


@pytest.fixture
def tap(broker: str) -> Iterator[Tap]:
    made = Tap(broker)
    yield made
    made.close()


def of(raw: list[Stored], user: str) -> list[Stored]:
    return [record for record in raw if record.key.partition(b":")[2] == user.encode()]


def track(user: str, **more: str) -> bytes:
    return json.dumps({"writeKey": "k-app", "userId": user, "event": "e", **more}).encode()


def sign(*parts: str) -> str:
    signer = WeChatSigner()
    signer.add_data(TOKEN, TIME, NONCE, *parts)
    return str(signer.signature)


@pytest.mark.contract
@pytest.mark.parametrize("gzip", [False, True])
def test_an_unmodified_segment_sdk_has_all_its_events_stored(
    edge: Edge, tap: Tap, *, gzip: bool
) -> None:
    user, errors = uuid.uuid4().hex, []
    client = SegmentClient(
        "k-app",
        host=edge.url,
        gzip=gzip,
        on_error=lambda error, items: errors.append((error, items)),
    )
    for number in range(250):
        client.track(user, "product_viewed", {"n": number, "名": "茶"})
    client.identify(user, {"level": "gold"})
    client.shutdown()
    assert errors == []
    raw, rejects = tap.look()
    stored = of(raw, user)
    items = [json.loads(record.value) for record in stored]
    assert rejects == []
    assert [item["properties"]["n"] for item in items[:-1]] == list(range(250))
    assert items[-1]["traits"] == {"level": "gold"}
    assert len({record.partition for record in stored}) == 1
    for record in stored:
        assert (record.envelope.door, record.envelope.account) == ("segment", "app")
        assert record.envelope.sent_at_ms is not None
        assert abs(record.envelope.sent_at_ms - record.envelope.received_at_ms) < 600_000


@pytest.mark.contract
def test_an_unmodified_sensors_sdk_has_all_its_events_stored(edge: Edge, tap: Tap) -> None:
    user = uuid.uuid4().hex
    sdk = SensorsAnalytics(BatchConsumer(f"{edge.url}/sa?token=k-mini", 20))
    for number in range(30):
        sdk.track(user, "view", {"n": number}, is_login_id=True)
    sdk.close()
    raw, rejects = tap.look()
    assert rejects == []
    items = [json.loads(record.value) for record in of(raw, user)]
    assert [item["properties"]["n"] for item in items] == list(range(30))


def test_the_mini_program_s_form_is_stored_byte_by_byte(edge: Edge, tap: Tap) -> None:
    user = uuid.uuid4().hex
    item = f'{{"distinct_id" : "{user}", "event":"$MPLaunch","x":1e2}}'
    form = "data_list=" + quote(base64.b64encode(f"[{item} ]".encode()), safe="")
    answer = edge.post("/sa?token=k-mini", form.encode(), {"Content-Type": "text/plain"})
    assert (answer.status, answer.body) == (200, b"")
    picture = edge.ask("GET", "/sa.gif?token=k-mini&data=" + quote(base64.b64encode(item.encode())))
    assert picture.body.startswith(b"GIF89a")
    raw, _ = tap.look()
    assert [record.value for record in of(raw, user)] == [item.encode()] * 2


def test_a_dry_run_tells_what_would_become_of_each_event_and_writes_nothing(
    edge: Edge, tap: Tap
) -> None:
    def ask(plain: bytes, path: str = "/debug?token=k-mini") -> dict[str, Any]:
        form = b"data_list=" + quote(base64.b64encode(plain), safe="").encode()
        answer = edge.post(path, form, {"Dry-Run": "true"})
        assert answer.status == 200
        told: dict[str, Any] = json.loads(answer.body)
        return told

    good = b'{"distinct_id":"d","type":"track","event":"e","time":1700000000000}'
    told = ask(b"[" + good + b',{"distinct_id":"d"},17]')
    assert told["valid"] == 1
    assert [(bad["item"], bad["stage"], bad["reason"]) for bad in told["rejected"]] == [
        (1, "validate", "missing_field"),
        (2, "parse", "not_object"),
    ]
    assert ask(b"x")["rejected"] == [{"item": 0, "stage": "collect", "reason": "not_json"}]
    assert ask(good, "/sa?token=k-mini")["valid"] == 1
    assert tap.look() == ([], [])


def test_a_dry_run_judges_by_the_plan_that_ingest_has(broker: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("defaults: {unplanned: reject}\nevents:\n  e: {}\n")

    def ask(edge: Edge, item: bytes) -> Answer:
        form = b"data_list=" + quote(base64.b64encode(item), safe="").encode()
        return edge.post("/debug?token=k-mini", form, {"Dry-Run": "true"})

    item = b'[{"distinct_id":"d","type":"track","event":"%s","time":1700000000000}]'
    with collector(broker, tmp_path, SIYU_PLAN=str(plan)) as edge:
        assert json.loads(ask(edge, item % b"e").body)["valid"] == 1
        # Siyu's own plan knows this event, this one does not.
        (told,) = json.loads(ask(edge, item % b"product_viewed").body)["rejected"]
        assert told["reason"] == "unplanned_event"
    plan.write_text("events: [\n")
    with collector(broker, tmp_path, SIYU_PLAN=str(plan)) as edge:
        answer = ask(edge, item % b"e")
        assert answer.status == 500
        assert json.loads(answer.body)["code"] == "plan_invalid"


def test_wechat_checks_the_url(edge: Edge) -> None:
    query = f"signature={sign()}&timestamp={TIME}&nonce={NONCE}&echostr=12345"
    answer = edge.ask("GET", f"/wechat/{APPID}?{query}")
    assert (answer.status, answer.body) == (200, b"12345")
    assert edge.ask("GET", f"/wechat/{APPID}?{query}".replace(NONCE, "1")).status == 403


@pytest.mark.parametrize("aes_key", [None, NEW_AES, OLD_AES])
def test_a_wechat_message_is_stored_in_plain(edge: Edge, tap: Tap, aes_key: str | None) -> None:
    openid = uuid.uuid4().hex
    xml = f"<xml><FromUserName><![CDATA[{openid}]]></FromUserName><Content>好</Content></xml>"
    body, query = xml, f"signature={sign()}&timestamp={TIME}&nonce={NONCE}"
    if aes_key is not None:
        body = WeChatCrypto(TOKEN, aes_key, APPID).encrypt_message(xml, NONCE, TIME)
        sealed = body.split("<Encrypt><![CDATA[")[1].partition("]]>")[0]
        query += f"&encrypt_type=aes&msg_signature={sign(sealed)}"
    answer = edge.post(f"/wechat/{APPID}?{query}", body.encode())
    assert (answer.status, answer.body) == (200, b"success")
    [record] = of(tap.look()[0], f"{APPID}:{openid}")
    assert record.value == xml.encode()
    assert (record.envelope.door, record.envelope.account) == ("wechat", APPID)


def test_the_python_producer_writes_what_segment_would(broker: str, tap: Tap) -> None:
    user = uuid.uuid4().hex
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    with SiyuProducer(broker, source="server", account="orders") as producer:
        message_id = producer.track(user, "order_paid", {"amount": 9.5}, timestamp=when)
        producer.identify(user, {"level": "gold"}, message_id="m2")
    track_, identify = of(tap.look()[0], user)
    body: dict[str, Any] = json.loads(track_.value)
    assert body["messageId"] == message_id
    assert (body["event"], body["timestamp"]) == ("order_paid", "2026-01-02T03:04:05+00:00")
    assert (track_.envelope.door, track_.envelope.account) == ("native", "orders")
    assert json.loads(identify.value)["messageId"] == "m2"


def test_the_python_producer_tells_its_caller_what_it_cannot_send(broker: str) -> None:
    with pytest.raises(BrokerUnavailable):
        SiyuProducer(f"127.0.0.1:{free_port()}", source="server", account="x", timeout_s=1)
    with SiyuProducer(broker, source="server", account="x") as producer:
        with pytest.raises(ValueError, match="user_id or anonymous_id"):
            producer.track(event="e")
        with pytest.raises(ValueError, match="a zone is needed"):
            producer.track("u", "e", timestamp=datetime(2026, 1, 1))  # noqa: DTZ001 - the point


@pytest.fixture
def tiny_records(kafka_admin: KafkaAdminClient, broker: str) -> Iterator[None]:
    """A broker that refuses records over 2 kB, until the end of the test."""
    assert broker
    usual = topics.RAW.broker_config()
    for config in (usual | {"max.message.bytes": "2000"}, usual):
        kafka_admin.alter_configs([ConfigResource("TOPIC", topics.RAW.name, config)])
        if config is not usual:
            yield


@pytest.mark.usefixtures("tiny_records")
def test_a_record_that_the_broker_refuses_is_told_and_the_next_one_passes(
    broker: str, edge: Edge, tap: Tap
) -> None:
    user = uuid.uuid4().hex
    with SiyuProducer(broker, source="server", account="x") as producer:
        producer.track(user, "e", {"pad": "x" * 5000})
        with pytest.raises(BrokerUnavailable, match=r"1 failures, .* send again"):
            producer.flush()
        producer.track(user, "e")
    assert edge.post("/v1/track", track(user, pad="x" * 5000)).status == 503
    # The gap in the sequence asks for a new producer, which the edge makes by itself.
    until(lambda: edge.post("/v1/track", track(user)).status == 200, "the edge stores again")
    assert len(of(tap.look()[0], user)) == 2


class Line:
    """A wire to the broker that the test can lay later."""

    def __init__(self, broker: str) -> None:
        host, _, port = broker.partition(":")
        self._target, self.port = (host, int(port)), free_port()
        self._listener: socket.socket | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def lay(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
    except OSError:
        pass
    finally:
        for end in (source, target):
            end.close()


def test_without_a_broker_nothing_is_accepted_and_the_edge_recovers_by_itself(
    broker: str, tmp_path: Path, tap: Tap
) -> None:
    line, user = Line(broker), uuid.uuid4().hex
    with collector(line.address, tmp_path) as edge:
        assert not ready(edge)
        assert edge.ask("GET", "/healthz").status == 200
        refused = edge.post("/v1/track", track(user))
        assert (refused.status, json.loads(refused.body)["code"]) == (503, "broker_unavailable")
        assert edge.post("/sa?token=k-app", b"data=e30=").status == 503
        # The mini-program SDK forgets its queue on any answer.
        with pytest.raises(Dropped):
            edge.post("/sa?token=k-mini", b"data=e30=")
        query = f"signature={sign()}&timestamp={TIME}&nonce={NONCE}"
        assert edge.post(f"/wechat/{APPID}?{query}", b"<xml/>").status == 503
        line.lay()
        until(lambda: ready(edge), "the edge is ready once the broker is there")
        assert edge.post("/v1/track", track(user)).status == 200
    line.cut()
    assert len(of(tap.look()[0], user)) == 1


def test_over_its_memory_bound_the_edge_answers_503_and_goes_on(
    broker: str, tmp_path: Path, tap: Tap
) -> None:
    user = uuid.uuid4().hex
    with collector(broker, tmp_path, SIYU_COLLECT_MAX_IN_FLIGHT_BYTES="20000") as edge:
        until(lambda: ready(edge), "the edge is ready")
        for _ in range(3):
            refused = edge.post("/v1/track", track(user, pad="x" * 30_000))
            assert (refused.status, json.loads(refused.body)["code"]) == (503, "overloaded")
        assert edge.post("/v1/track", track(user)).status == 200
        assert b"siyu_collect_in_flight_bytes 0.0" in edge.ask("GET", "/metrics").body
    assert len(of(tap.look()[0], user)) == 1


@pytest.mark.faults
@pytest.mark.parametrize(("point", "stored"), [("collect.before_publish", 0), ("collect.acked", 1)])
def test_a_killed_edge_has_answered_nothing_that_is_not_stored(
    broker: str, tmp_path: Path, tap: Tap, point: str, stored: int
) -> None:
    user = uuid.uuid4().hex
    with collector(broker, tmp_path, SIYU_CRASH_AT=f"{point}:2") as edge:
        until(lambda: ready(edge), "the edge is ready")
        assert edge.post("/v1/track", track(user, messageId="1")).status == 200
        with pytest.raises(Dropped):
            edge.post("/v1/track", track(user, messageId="2"))
        assert edge.process.wait() == -signal.SIGKILL
    with collector(broker, tmp_path) as edge:
        until(lambda: ready(edge), "the edge is ready again")
        assert edge.post("/v1/track", track(user, messageId="2")).status == 200
    found = of(tap.look()[0], user)
    assert [json.loads(record.value)["messageId"] for record in found] == [
        "1",
        *["2"] * (stored + 1),
    ]
    # In one partition, so that ingest can collapse the repeated one.
    assert len({record.partition for record in found}) == 1


def test_at_sigterm_all_that_was_answered_200_is_stored(
    broker: str, tmp_path: Path, tap: Tap
) -> None:
    user = uuid.uuid4().hex
    with collector(broker, tmp_path) as edge, ThreadPoolExecutor(8) as pool:
        until(lambda: ready(edge), "the edge is ready")

        def send(number: int) -> int | None:
            if number == 200:
                edge.process.send_signal(signal.SIGTERM)
            try:
                return edge.post("/v1/track", track(user, messageId=str(number))).status
            except Dropped:
                return None

        answers = list(pool.map(send, range(600)))
        assert edge.process.wait(60) == 0
    accepted = {str(number) for number, status in enumerate(answers) if status == 200}
    there = {json.loads(record.value)["messageId"] for record in of(tap.look()[0], user)}
    assert len(accepted) >= 100
    assert accepted <= there
    assert set(answers) <= {200, 503, None}
