"""The catalogue of known events: one table of name, typed properties and who may send it.

An event that is not here is accepted and marked ``uncatalogued``; one that is here
must keep its types, or it is rejected with the path of the faulty property. More
properties than the model names are welcome and stay untyped. All money is in
**yuan (CNY, 元)**, as a JSON number: 99.5 is ¥99.50. Types are strict: "99.5" is not money.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args

from pydantic import BaseModel, ConfigDict, Field

from schemas.sources import Source

Yuan = Annotated[float, Field(ge=0, allow_inf_nan=False, description="yuan (CNY)")]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Code = Annotated[str, Field(min_length=1, max_length=256)]


class Properties(BaseModel):
    """Properties that any event may carry; none is typed."""

    model_config = ConfigDict(strict=True, extra="ignore")


class ProductViewed(Properties):
    """A product page was opened (浏览商品); ``price`` in yuan."""

    sku: Code
    category: str | None = None
    price: Yuan | None = None
    name: str | None = None


class CartAdded(Properties):
    """A product was put into the cart (加购); ``amount`` is the line's total in yuan."""

    sku: Code
    cart_id: Code | None = None
    category: str | None = None
    amount: Yuan | None = None
    quantity: Count | None = None


class CartRemoved(CartAdded):
    """A product was taken out of the cart; ``amount`` is the line's total in yuan."""


class CouponReceived(Properties):
    """A coupon came into the user's wallet (领券); ``amount`` is its face value in yuan."""

    coupon_id: Code
    amount: Yuan | None = None


class CouponUsed(CouponReceived):
    """A coupon was redeemed (核销); ``amount`` is the discount in yuan."""

    order_id: Code | None = None


class OrderPlaced(Properties):
    """An order was placed but not yet paid (下单); ``amount`` is what is due, in yuan."""

    order_id: Code
    amount: Yuan
    category: str | None = None
    skus: list[str] | None = None
    cart_id: Code | None = None
    coupon_id: Code | None = None


class OrderPaid(OrderPlaced):
    """An order was paid (支付); ``amount`` is what was paid, in yuan, after discounts."""


class OrderRefunded(Properties):
    """Money went back (退款); ``amount`` is the refund in yuan, a positive number."""

    order_id: Code
    amount: Yuan
    reason: str | None = None


class PageViewed(Properties):
    """A page of the web or a mini-program was shown."""

    name: str | None = None
    path: str | None = None
    url: str | None = None
    title: str | None = None
    referrer: str | None = None


class ScreenViewed(Properties):
    """A screen of the app was shown."""

    name: str | None = None
    title: str | None = None


class PageLeft(PageViewed):
    """A page or screen was left, after ``duration_s`` seconds."""

    duration_s: Seconds | None = None


class ElementClicked(Properties):
    """A button or link was tapped."""

    element: str | None = None
    path: str | None = None


class SearchPerformed(Properties):
    """The shop was searched (搜索)."""

    query: Annotated[str, Field(max_length=1000)]
    results: Count | None = None


class ContentShared(Properties):
    """A page or product was shared (分享)."""

    sku: Code | None = None
    path: str | None = None
    method: str | None = None


class ShareOpened(Properties):
    """Somebody came in through a share; ``depth`` 1 is the first generation."""

    path: str | None = None
    depth: Count | None = None
    sharer: str | None = None


class UserRegistered(Properties):
    """An account was made (注册)."""

    method: str | None = None


class ProfileUpdated(Properties):
    """Traits changed; ``operation`` is set, set_once, increment, append or unset."""

    operation: str | None = None


class GroupJoined(Properties):
    """The user belongs to a group: a company, a WeChat group (社群)."""

    group_id: Code | None = None


class UserAliased(Properties):
    """The user was known by ``previous_id`` before."""

    previous_id: str | None = None


class AppStarted(Properties):
    """The app or mini-program came to the front; ``path`` is where it opened."""

    path: str | None = None
    scene: str | None = None


class AppEnded(Properties):
    """The app or mini-program left the front, after ``duration_s`` seconds."""

    duration_s: Seconds | None = None


class OfficialAccountFollowed(Properties):
    """The official account was followed (关注); ``scene`` is the QR code's, if one led here."""

    scene: str | None = None


class OfficialAccountMenuClicked(Properties):
    """A menu entry of the official account was tapped: its ``key``, or the ``url`` it opened."""

    key: str | None = None
    url: str | None = None


class OfficialAccountLocationReported(Properties):
    """The account got the user's position, in degrees (GCJ-02); ``precision_m`` in metres."""

    latitude: float
    longitude: float
    precision_m: float | None = None


class MessageReceived(Properties):
    """The user wrote to the account (用户消息); ``content`` is there for text."""

    content: str | None = None
    message_type: str | None = None


class TemplateReported(Properties):
    """WeChat reports what became of a template message; ``status`` is its own word."""

    status: str
    template_message_id: str | None = None


class SubscriptionAnswered(Properties):
    """Answers on subscription messages (订阅消息), one per template."""

    templates: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One known event: its name, the model of its properties, the sources that may send it."""

    name: str
    model: type[Properties]
    sources: frozenset[Source]


ANY: Final[frozenset[Source]] = frozenset(get_args(Source))
# A server may relay for each of the others: it holds a key of its own.
_APP: Final[frozenset[Source]] = frozenset({"app", "server"})
_MINI: Final[frozenset[Source]] = frozenset({"mini_program", "server"})
_OFFICIAL: Final[frozenset[Source]] = frozenset({"official_account", "server"})

_TABLE: Final[tuple[tuple[str, type[Properties], frozenset[Source]], ...]] = (
    ("product_viewed", ProductViewed, ANY),
    ("product_favorited", ProductViewed, ANY),
    ("cart_added", CartAdded, ANY),
    ("cart_removed", CartRemoved, ANY),
    ("coupon_received", CouponReceived, ANY),
    ("coupon_used", CouponUsed, ANY),
    ("order_placed", OrderPlaced, ANY),
    ("order_paid", OrderPaid, ANY),
    ("order_refunded", OrderRefunded, ANY),
    ("page_viewed", PageViewed, ANY),
    ("page_left", PageLeft, ANY),
    ("screen_viewed", ScreenViewed, ANY),
    ("element_clicked", ElementClicked, ANY),
    ("search_performed", SearchPerformed, ANY),
    ("content_shared", ContentShared, ANY),
    ("content_favorited", ContentShared, ANY),
    ("share_opened", ShareOpened, ANY),
    ("user_registered", UserRegistered, ANY),
    ("user_identified", Properties, ANY),
    ("profile_updated", ProfileUpdated, ANY),
    ("profile_deleted", Properties, ANY),
    ("identity_bound", Properties, ANY),
    ("identity_unbound", Properties, ANY),
    ("group_joined", GroupJoined, ANY),
    ("user_aliased", UserAliased, ANY),
    ("app_installed", AppStarted, _APP),
    ("app_started", AppStarted, _APP),
    ("app_ended", AppEnded, _APP),
    ("mini_program_launched", AppStarted, _MINI),
    ("mini_program_shown", AppStarted, _MINI),
    ("mini_program_hidden", AppEnded, _MINI),
    ("official_account_followed", OfficialAccountFollowed, _OFFICIAL),
    ("official_account_unfollowed", Properties, _OFFICIAL),
    ("official_account_qr_scanned", OfficialAccountFollowed, _OFFICIAL),
    ("official_account_menu_clicked", OfficialAccountMenuClicked, _OFFICIAL),
    ("official_account_link_opened", OfficialAccountMenuClicked, _OFFICIAL),
    ("official_account_location_reported", OfficialAccountLocationReported, _OFFICIAL),
    ("official_account_template_reported", TemplateReported, _OFFICIAL),
    ("message_received", MessageReceived, ANY),
    ("subscription_prompted", SubscriptionAnswered, ANY),
    ("subscription_changed", SubscriptionAnswered, ANY),
    ("subscription_message_reported", SubscriptionAnswered, ANY),
)
CATALOGUE: Final = {name: Entry(name, model, sources) for name, model, sources in _TABLE}
