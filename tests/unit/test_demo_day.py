import base64
import gzip
import json
import os
from collections import Counter
from urllib.parse import parse_qs

import pytest
from wechatpy.crypto import WeChatCrypto

from deploy.demo import senders
from deploy.demo.messages import AppCall, Callback, Message, MiniBody, MiniEvent, messages
from deploy.demo.shoppers import FEWEST_SHOPPERS, HOUR_MS, LIVE_CART_AGE_MS, MINUTE_MS, steps

NOW_MS = 1_790_000_000_000
APPID = "wx0123456789abcdef"


def day(users: int = 60, seed: int = 7, now_ms: int = NOW_MS) -> list[Message]:
    return messages(users=users, seed=seed, now_ms=now_ms)


def test_the_same_seed_makes_the_same_day() -> None:
    assert day() == day()
    assert day(seed=8) != day()


def test_the_hour_of_the_run_moves_times_but_not_what_people_do() -> None:
    def doings(now_ms: int) -> Counter[tuple[str, str]]:
        done = steps(users=60, seed=7, now_ms=now_ms)
        return Counter((step.shopper.user_id, step.name) for step in done)

    assert doings(NOW_MS) == doings(NOW_MS + 7 * HOUR_MS + 123)


def test_a_day_arrives_in_time_order_and_is_over_by_now() -> None:
    times = [message.time_ms for message in day()]
    assert times == sorted(times)
    assert times[0] > NOW_MS - 24 * HOUR_MS
    assert times[-1] < NOW_MS


def test_every_cart_but_the_live_one_has_waited_its_half_hour() -> None:
    carts = [step for step in steps(users=60, seed=7, now_ms=NOW_MS) if step.name == "cart_added"]
    ages_ms = sorted(NOW_MS - step.time_ms for step in carts)
    assert LIVE_CART_AGE_MS - 1000 <= ages_ms[0] <= LIVE_CART_AGE_MS
    assert ages_ms[1] > 31 * MINUTE_MS


def test_the_funnel_narrows() -> None:
    users: dict[str, set[str]] = {}
    for step in steps(users=200, seed=7, now_ms=NOW_MS):
        users.setdefault(step.name, set()).add(step.shopper.user_id)
    assert users["product_viewed"] > users["cart_added"] > users["order_paid"]
    assert users["coupon_used"] <= users["order_paid"]


@pytest.mark.parametrize("users", [FEWEST_SHOPPERS, 30, 200])
@pytest.mark.parametrize("seed", range(5))
def test_even_a_small_crowd_uses_every_door_and_makes_every_mistake(users: int, seed: int) -> None:
    seen = {(type(message), message.fate) for message in day(users, seed)}
    assert {
        (AppCall, "lands"),
        (AppCall, "rejected"),
        (MiniEvent, "lands"),
        (MiniEvent, "rejected"),
        (MiniBody, "rejected"),
        (Callback, "lands"),
        (Callback, "rejected"),
        (Callback, "refused"),
    } <= seen


def test_message_ids_of_good_app_calls_are_unique_and_rejected_twins_follow_them() -> None:
    calls = [message for message in day() if isinstance(message, AppCall)]
    good = [call.arguments["message_id"] for call in calls if call.fate == "lands"]
    assert len(set(good)) == len(good)
    first = {call.arguments["message_id"]: call for call in reversed(calls)}
    twins = [call for call in calls if first[call.arguments["message_id"]] is not call]
    assert twins
    assert {twin.fate for twin in twins} == {"rejected"}


def test_an_independent_reader_opens_the_wechat_envelope() -> None:
    key = base64.b64encode(os.urandom(32)).decode().rstrip("=")
    xml = "<xml><Content><![CDATA[优惠券]]></Content></xml>"
    cipher = senders.encrypt(xml.encode(), key, APPID)
    query = {
        name: values[0] for name, values in parse_qs(senders.signed_query("T", cipher)).items()
    }
    opened = WeChatCrypto("T", key, APPID).decrypt_message(
        f"<xml><Encrypt>{cipher}</Encrypt></xml>",
        query["msg_signature"],
        query["timestamp"],
        query["nonce"],
    )
    assert opened == xml


def test_a_sensors_body_unpacks_to_its_events() -> None:
    events = [message for message in day() if isinstance(message, MiniEvent)]
    squeezed = set()
    for event in events:
        form = parse_qs(senders._sensors_body([event]).decode())  # noqa: SLF001 - the wire form is the point
        packed = base64.b64decode(form["data_list"][0])
        squeezed.add("gzip" in form)
        items = json.loads(gzip.decompress(packed) if "gzip" in form else packed)
        assert [item["time"] for item in items] == [event.time_ms]
    assert squeezed == {True, False}
