"""The unmodified SDKs against the running flow: each event once in ClickHouse, who and when."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rudderstack.analytics.client import Client as RudderClient
from segment.analytics.client import Client as SegmentClient
from sensorsanalytics import BatchConsumer, DefaultConsumer, SensorsAnalytics
from wechatpy.crypto import WeChatCrypto
from wechatpy.utils import WeChatSigner

from streams.core.intake.identify import Identifier
from tests.collect_harness import APPID, CORPID, NEW_AES, OLD_AES, TOKEN
from tests.contract.flow import Flow

pytestmark = [pytest.mark.contract, pytest.mark.integration]
LONG_AGO = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
Failures = list[Any]


@pytest.fixture
def user() -> str:
    return f"u-{uuid.uuid4().hex[:12]}"


def names(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["event"] for row in rows)


def near(moment: datetime, wanted: datetime) -> bool:
    """Tell if a time is the wanted one, but for the correction of the client's clock."""
    return abs(moment.replace(tzinfo=UTC) - wanted) < timedelta(seconds=5)


@pytest.mark.parametrize("gzip", [False, True])
def test_segment_s_python_sdk(flow: Flow, user: str, *, gzip: bool) -> None:
    failures: Failures = []
    sdk = SegmentClient(
        "k-app", host=flow.url, gzip=gzip, on_error=lambda *told: failures.append(told)
    )
    for number in range(120):
        sdk.track(user, "product_viewed", {"sku": f"s{number}", "price": 1.5}, timestamp=LONG_AGO)
    sdk.identify(user, {"level": "gold", "phone": "138 0013 8000"})
    sdk.page(user, "shop", "home")
    sdk.screen(user, "shop", "cart")
    sdk.group(user, "vip", {"size": 3})
    sdk.alias(f"{user}-before", user)
    sdk.shutdown()
    assert failures == []
    rows = flow.landed(user, 125)
    views = [row for row in rows if row["event"] == "product_viewed"]
    assert {row["properties"]["sku"] for row in views} == {f"s{number}" for number in range(120)}
    assert all(near(row["timestamp"], LONG_AGO) for row in views)
    assert all("late" in row["marks"] for row in views)
    [identified] = [row for row in rows if row["event"] == "user_identified"]
    hashed = Identifier(flow.pii_key).hmac_of("phone", "13800138000")
    assert identified["identities"] == {"user_id": user, "phone_hmac": hashed}
    others = ["group_joined", "page_viewed", "screen_viewed", "user_aliased", "user_identified"]
    assert sorted({*names(rows)} - {"product_viewed"}) == others
    assert {row["source"] for row in rows} == {"app"}


def test_rudderstack_s_python_sdk(flow: Flow, user: str) -> None:
    failures: Failures = []
    sdk = RudderClient("k-web", host=flow.url, on_error=lambda *told: failures.append(told))
    for number in range(120):
        sdk.track(user, "product_viewed", {"sku": f"s{number}"}, timestamp=LONG_AGO)
    sdk.identify(user, {"level": "gold", "email": "A@Example.com"})
    sdk.track(event="cart_added", properties={"sku": "s"}, anonymous_id=f"{user}-a", user_id=user)
    sdk.flush()
    sdk.join()
    assert failures == []
    rows = flow.landed(user, 122)
    views = [row for row in rows if row["event"] == "product_viewed"]
    assert all(near(row["timestamp"], LONG_AGO) for row in views)
    [identified] = [row for row in rows if row["event"] == "user_identified"]
    assert identified["traits"]["level"] == "gold"
    hashed = Identifier(flow.pii_key).hmac_of("email", "a@example.com")
    assert identified["identities"]["email_hmac"] == hashed
    [carted] = [row for row in rows if row["event"] == "cart_added"]
    assert carted["anonymous_id"] == f"{user}-a"


def test_segment_s_node_sdk(flow: Flow, node: Callable[..., None], user: str) -> None:
    node("segment_node.mjs", flow.url, "k-app", user, "90")
    rows = flow.landed(user, 95)
    views = {row["properties"]["sku"]: row for row in rows if row["event"] == "product_viewed"}
    assert len(views) == 90
    for number in range(90):
        row = views[f"sku-{number}"]
        assert near(row["timestamp"], datetime(2026, 1, 2, 3, 4, number % 60, tzinfo=UTC))
        assert (row["channel"], row["properties"]["name"]) == ("campaign:douyin", "茶具")
    hashed = Identifier(flow.pii_key).hmac_of("phone", "13800138000")
    [identified] = [row for row in rows if row["event"] == "user_identified"]
    assert identified["identities"]["phone_hmac"] == hashed


@pytest.mark.parametrize("consumer", [BatchConsumer, DefaultConsumer])
def test_sensors_python_sdk(flow: Flow, user: str, consumer: Callable[[str], Any]) -> None:
    sdk = SensorsAnalytics(consumer(f"{flow.url}/sa?project=default&token=k-mini"))
    for number in range(60):
        sdk.track(
            user,
            "cart_added",
            {"sku": f"s{number}", "$time": LONG_AGO.replace(tzinfo=None)},
            is_login_id=True,
        )
    sdk.track_signup(user, f"{user}-a")
    sdk.profile_set(user, {"level": "gold"}, is_login_id=True)
    sdk.close()
    rows = flow.landed(user, 62)
    carts = [row for row in rows if row["event"] == "cart_added"]
    assert {row["properties"]["sku"] for row in carts} == {f"s{number}" for number in range(60)}
    local = datetime.fromtimestamp(time.mktime(LONG_AGO.timetuple()), UTC)
    assert all(near(row["timestamp"], local) for row in carts)
    [signed] = [row for row in rows if row["event"] == "user_identified"]
    assert signed["identities"]["anonymous_id"] == f"{user}-a"
    [profile] = [row for row in rows if row["event"] == "profile_updated"]
    assert profile["traits"] == {"level": "gold"}


def test_sensors_mini_program_sdk(flow: Flow, node: Callable[..., None], user: str) -> None:
    before = datetime.now(UTC)
    node("mini_program.cjs", f"{flow.url}/sa?project=default&token=k-mini", user, "40")
    # The SDK knows the user by login after it knew him by openid alone.
    rows = flow.landed(user, 43)
    carts = [row for row in rows if row["event"] == "cart_added"]
    assert {row["properties"]["sku"] for row in carts} == {f"sku-{number}" for number in range(40)}
    assert names(rows)[40:] == ["content_shared", "profile_updated", "user_identified"]
    [signed] = [row for row in rows if row["event"] == "user_identified"]
    openid = signed["identities"]["openid"]
    assert openid == f"wx5iyu0mini0000000:o{user}"
    early = flow.landed(openid, 5, kind="openid")
    assert names(early) == [
        "mini_program_launched",
        "mini_program_shown",
        "page_viewed",
        *["profile_updated"] * 2,
    ]
    [launch] = [row for row in early if row["event"] == "mini_program_launched"]
    assert launch["context"]["share"] == {
        "from": "friend-1",
        "depth": 2,
        "path": "pages/item",
        "method": "转发消息卡片",
    }
    assert launch["context"]["scene"] == "wx-1007"
    assert launch["context"]["campaign"] == {"source": "WeChatGroup", "name": "spring"}
    assert launch["channel"] == "campaign:wechatgroup"
    assert launch["context"]["device"]["model"] == "iPhone 15"
    for row in rows + early:
        assert before - timedelta(seconds=5) < row["timestamp"].replace(tzinfo=UTC)
        assert row["source"] == "mini_program"


def pushed(flow: Flow, path: str, xml: str, receiver: str, key: str | None) -> None:
    """Push as WeChat does, three times, sealed by wechatpy: it repeats what it thinks is lost."""
    stamp, nonce = str(int(time.time())), uuid.uuid4().hex[:9]
    body, sealed = xml, []
    if key is not None:
        body = str(WeChatCrypto(TOKEN, key, receiver).encrypt_message(xml, nonce, stamp))
        sealed = [body.split("<Encrypt><![CDATA[")[1].partition("]]>")[0]]
    signer = WeChatSigner()
    signer.add_data(TOKEN, stamp, nonce, *sealed)
    name = "encrypt_type=aes&msg_signature" if sealed else "signature"
    query = f"timestamp={stamp}&nonce={nonce}&{name}={signer.signature}"
    for _ in range(3):
        assert flow.edge.post(f"/{path}?{query}", body.encode()).status == 200


def message(openid: str, number: int, rest: str) -> str:
    return (
        f"<xml><ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[{openid}]]>"
        f"</FromUserName><CreateTime>{int(LONG_AGO.timestamp()) + number}</CreateTime>{rest}</xml>"
    )


@pytest.mark.parametrize("key", [None, NEW_AES, OLD_AES])
def test_wechat_callbacks_as_wechatpy_seals_them(flow: Flow, user: str, key: str | None) -> None:
    def event(name: str, more: str = "") -> str:
        return f"<MsgType>event</MsgType><Event>{name}</Event>{more}"

    answer = "<SubscribeStatusString>accept</SubscribeStatusString>"
    listed = f"<List><TemplateId>t1</TemplateId>{answer}</List>"
    pushes = {
        "official_account_followed": event("subscribe", "<EventKey>qrscene_poster</EventKey>"),
        "official_account_qr_scanned": event("SCAN", "<EventKey>poster</EventKey>"),
        "official_account_menu_clicked": event("CLICK", "<EventKey>menu</EventKey>"),
        "official_account_link_opened": event("VIEW", "<EventKey>https://x</EventKey>"),
        "official_account_location_reported": event(
            "LOCATION", "<Latitude>31.2</Latitude><Longitude>121.5</Longitude>"
        ),
        "official_account_template_reported": event(
            "TEMPLATESENDJOBFINISH", "<MsgID>7</MsgID><Status>success</Status>"
        ),
        "subscription_prompted": event(
            "subscribe_msg_popup_event",
            f"<SubscribeMsgPopupEvent>{listed}{listed}</SubscribeMsgPopupEvent>",
        ),
        "message_received": f"<MsgType>text</MsgType><Content>你好</Content><MsgId>{user}</MsgId>",
        "official_account_unfollowed": event("unsubscribe"),
    }
    for number, rest in enumerate(pushes.values()):
        pushed(flow, f"wechat/{APPID}", message(user, number, rest), APPID, key)
    rows = flow.landed(f"{APPID}:{user}", len(pushes), kind="openid")
    assert names(rows) == sorted(pushes)
    for row in rows:
        number = list(pushes).index(row["event"])
        moment = datetime.fromtimestamp(int(LONG_AGO.timestamp()) + number, UTC)
        assert row["timestamp"].replace(tzinfo=UTC) == moment
        assert row["source"] == "official_account"
    [followed] = [row for row in rows if row["event"] == "official_account_followed"]
    assert followed["channel"] == "qr:poster"


def test_wecom_callbacks_as_wechatpy_seals_them(flow: Flow, user: str) -> None:
    for change in ("add_external_contact", "del_follow_user"):
        rest = (
            "<MsgType>event</MsgType><Event>change_external_contact</Event>"
            f"<ChangeType>{change}</ChangeType><UserID>zhang</UserID>"
            f"<ExternalUserID>{user}</ExternalUserID><State>poster</State>"
            "<WelcomeCode>W1</WelcomeCode>"
        )
        pushed(flow, f"wecom/{CORPID}", message("sys", 0, rest), CORPID, NEW_AES)
    rows = flow.landed(f"{CORPID}:{user}", 2, kind="openid")
    assert names(rows) == ["wecom_contact_added", "wecom_staff_deleted"]
    assert {(row["source"], row["channel"]) for row in rows} == {("wecom", "qr:poster")}
    assert {row["context"]["welcome_code"] for row in rows} == {"W1"}


def test_in_the_end_nothing_has_landed_twice(flow: Flow) -> None:
    """Last in this file: whatever came late has come by now."""
    for (kind, value), expected in flow.asked.items():
        assert len(flow.rows(value, kind)) == expected
