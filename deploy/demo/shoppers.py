"""A seeded, realistic day of a shop's users: who they are and what each did, step by step.

Pure: the same (users, seed, now) gives the same steps, and the same seed at another
``now`` gives the same steps at other times. Amounts are yuan (CNY), times epoch ms.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Door = Literal["app", "mini", "account"]

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
# A session lasts half an hour at most and a cart waits another half hour, so that of a
# session that began this long ago every cart timer is due by now.
YOUNGEST_SESSION_MS: Final = 75 * MINUTE_MS
OLDEST_SESSION_MS: Final = 23 * HOUR_MS + 30 * MINUTE_MS
# The last shopper's cart: its half hour ends while the demo runs, so a timer fires live.
LIVE_CART_AGE_MS: Final = 30 * MINUTE_MS - 8_000

# Share of sessions that begin in each hour of the day in Shanghai: noon and late evening.
_HOURLY: Final = (
    *(3, 2, 1, 1, 1, 2),
    *(4, 7, 10, 11, 11, 13),
    *(16, 13, 10, 10, 10, 11),
    *(13, 16, 20, 22, 18, 9),
)
_SHANGHAI_MS: Final = 8 * HOUR_MS
_SLOT_MS: Final = 5 * MINUTE_MS

CATEGORIES: Final = {"skincare": 128.0, "makeup": 79.0, "baby": 199.0, "snacks": 19.9, "home": 59.0}
_CITIES: Final = ("Shanghai", "Hangzhou", "Chengdu", "Guangzhou", "Wuhan", "Xi'an")
APP_CHANNELS: Final = ("xiaohongshu", "douyin", "baidu", "weibo", "")
# WeChat's scene values: 1007 share card, 1047 mini-program code, 1058 article, 1089 recent list.
MINI_SCENES: Final = (1007, 1047, 1058, 1089)
# How often people do what: shares of shoppers, of visits or of carts.
_LOGS_IN, _FOLLOWS, _TAPS_MENU, _WRITES = 0.6, 0.35, 0.6, 0.4
_SEARCHES, _FILLS_CART, _SHARES = 0.25, 0.5, 0.12
_ABANDONS, _HAS_COUPON = 0.45, 0.35
_MAKE_SURE: Final = 2
FEWEST_SHOPPERS: Final = _MAKE_SURE + 1
_STORES: Final = ("store_jingan", "store_xihu", "box_insert", "")


@dataclass(frozen=True, slots=True)
class Shopper:
    """One person: how each door knows them and what they like."""

    number: int
    user_id: str
    device: str
    openid: str
    mini_openid: str
    phone: str
    city: str
    category: str
    channel: str
    scene: int
    store: str
    doors: tuple[Door, ...]
    logged_in_mini: bool
    follows: bool


@dataclass(frozen=True, slots=True)
class Step:
    """Something that a shopper did; ``name`` is the canonical event, ``key`` is unique."""

    time_ms: int
    shopper: Shopper
    door: Door
    session: str
    key: str
    name: str
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Pen:
    """Writes one session's steps, each some seconds after the one before."""

    rng: random.Random
    shopper: Shopper
    door: Door
    session: str
    time_ms: int
    count: int = 0

    def write(self, name: str, /, *, after_s: tuple[int, int] = (4, 40), **properties: Any) -> Step:  # noqa: ANN401 - properties are JSON
        self.time_ms += self.rng.randint(*after_s) * 1000 + self.rng.randrange(1000)
        self.count += 1
        key = f"{self.session}-{self.count:02d}-{self.rng.getrandbits(32):08x}"
        return Step(
            self.time_ms, self.shopper, self.door, self.session, key, name, dict(properties)
        )


def shoppers(users: int, seed: int) -> list[Shopper]:
    """Return the people of a seed; the first ones are the same for any ``users``."""
    return [_shopper(number, random.Random(f"{seed}/{number}")) for number in range(users)]  # noqa: S311 - a seeded day, not a secret


def steps(*, users: int, seed: int, now_ms: int) -> list[Step]:
    """Return all steps of the day in time order; the last shopper holds the live cart."""
    crowd = shoppers(users, seed)
    day: list[Step] = []
    for shopper in crowd[:-1]:
        rng = random.Random(f"{seed}/{shopper.number}/day")  # noqa: S311 - as above
        day.extend(_day_of(rng, shopper, f"{seed}", now_ms))
    day.extend(_live_cart(crowd[-1], seed, now_ms))
    return sorted(day, key=lambda step: (step.time_ms, step.key))


def _shopper(number: int, rng: random.Random) -> Shopper:
    either: list[tuple[Door, ...]] = [("app",), ("mini",), ("app", "mini")]
    doors = rng.choices(either, weights=[35, 35, 30])[0]
    # The first two see to it that even the smallest crowd uses every door.
    doors = either[number] if number < _MAKE_SURE else doors
    return Shopper(
        number=number,
        user_id=f"u{10_000 + number}",
        device=f"{rng.getrandbits(64):016x}",
        openid=f"o{rng.getrandbits(108):027x}",
        mini_openid=f"o{rng.getrandbits(108):027x}",
        phone=f"138{rng.randrange(10**8):08d}",
        city=rng.choice(_CITIES),
        category=rng.choice(list(CATEGORIES)),
        channel=rng.choice(APP_CHANNELS),
        scene=rng.choice(MINI_SCENES),
        store=rng.choice(_STORES),
        doors=doors,
        logged_in_mini="app" in doors or rng.random() < _LOGS_IN,
        follows=number == 0 or rng.random() < _FOLLOWS,
    )


def _day_of(rng: random.Random, shopper: Shopper, seed: str, now_ms: int) -> Iterator[Step]:
    for visit in range(rng.choices([1, 2, 3], weights=[55, 30, 15])[0]):
        session = f"d{seed}-{shopper.number}-{visit}"
        pen = _Pen(rng, shopper, rng.choice(shopper.doors), session, _start(rng, now_ms))
        yield from _visit(pen, first=visit == 0)
    if shopper.follows:
        session = f"d{seed}-{shopper.number}-oa"
        yield from _follow(_Pen(rng, shopper, "account", session, _start(rng, now_ms)))


def _start(rng: random.Random, now_ms: int) -> int:
    """Draw when a session begins, by the hour of the day; always the same number of draws."""
    slots = range(YOUNGEST_SESSION_MS, OLDEST_SESSION_MS, _SLOT_MS)
    hours = [(now_ms - age_ms + _SHANGHAI_MS) // HOUR_MS % 24 for age_ms in slots]
    age_ms = rng.choices(slots, weights=[_HOURLY[hour] for hour in hours])[0]
    return now_ms - age_ms + rng.randrange(_SLOT_MS)


def _visit(pen: _Pen, *, first: bool) -> Iterator[Step]:
    """Open, look around, perhaps fill a cart, perhaps pay: the funnel."""
    rng = pen.rng
    if pen.door == "app":
        yield pen.write("app_started")
        if first:
            yield pen.write("user_identified", city=pen.shopper.city, phone=pen.shopper.phone)
        yield pen.write("screen_viewed", screen="home")
    else:
        yield pen.write("mini_program_launched")
        yield pen.write("page_viewed", path="pages/index")
    if rng.random() < _SEARCHES:
        yield pen.write("search_performed", query=pen.shopper.category)
    sku, price = "", 0.0
    for _ in range(rng.randint(1, 4)):
        sku, price = _product(rng, pen.shopper.category)
        # Some come back to the same product: three looks are a trigger of their own.
        for _ in range(rng.choices([1, 2, 3], weights=[75, 13, 12])[0]):
            yield pen.write("product_viewed", sku=sku, category=pen.shopper.category, price=price)
    if rng.random() < _FILLS_CART:
        yield from _buy(pen, sku, price)
    if rng.random() < _SHARES:
        yield pen.write("content_shared", path=f"products/{sku}")


def _buy(pen: _Pen, sku: str, price: float) -> Iterator[Step]:
    rng, category = pen.rng, pen.shopper.category
    amount = round(price * rng.randint(1, 3), 2)
    cart_id = f"c-{pen.session}"
    yield pen.write("cart_added", cart_id=cart_id, sku=sku, category=category, amount=amount)
    if rng.random() < _ABANDONS:
        return  # the abandoned cart
    coupon = f"NEW{rng.choice((5, 10))}" if rng.random() < _HAS_COUPON else None
    if coupon:
        yield pen.write("coupon_used", coupon_id=coupon, amount=float(coupon[3:]))
        amount = round(max(amount - float(coupon[3:]), 1.0), 2)
    order: dict[str, Any] = {"order_id": f"o-{pen.session}", "amount": amount}
    order |= {"category": category, "cart_id": cart_id}
    if coupon:
        order["coupon_id"] = coupon
    yield pen.write("order_paid", after_s=(20, 300), **order)


def _follow(pen: _Pen) -> Iterator[Step]:
    scene: dict[str, Any] = {"qr": pen.shopper.store} if pen.shopper.store else {}
    yield pen.write("official_account_followed", **scene)
    if pen.rng.random() < _TAPS_MENU:
        yield pen.write("menu_clicked", menu=pen.rng.choice(("coupons", "orders", "service")))
    if pen.shopper.number == 0 or pen.rng.random() < _WRITES:
        yield pen.write("message_received", content=pen.rng.choice(("优惠券", "你好", "发货了吗")))


def _live_cart(shopper: Shopper, seed: int, now_ms: int) -> Iterator[Step]:
    """One cart of nearly half an hour ago, unpaid: its timer fires while people watch."""
    rng = random.Random(f"{seed}/live")  # noqa: S311 - as above
    session = f"d{seed}-{shopper.number}-live"
    pen = _Pen(rng, shopper, "app", session, now_ms - LIVE_CART_AGE_MS - 60_000)
    yield pen.write("app_started")
    sku, price = _product(rng, "skincare")
    yield pen.write("product_viewed", sku=sku, category="skincare", price=price)
    pen.time_ms = now_ms - LIVE_CART_AGE_MS
    yield pen.write(
        "cart_added",
        after_s=(0, 0),
        cart_id=f"c-{session}",
        sku=sku,
        category="skincare",
        amount=max(price, 50.0),
    )


def _product(rng: random.Random, category: str) -> tuple[str, float]:
    number = rng.randint(1, 12)
    return f"{category}-{number:02d}", round(CATEGORIES[category] * (0.6 + 0.1 * number), 2)
