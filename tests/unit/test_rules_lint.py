import pytest

from schemas.errors import ConfigInvalid
from tests.engine_story import book

HEAD = """
tags:
- {id: orders, kind: count, event: order_paid}
- {id: fan, kind: flag, event: content_shared}
- {id: life, kind: stage, stages: [{new: {since_first: {lt: 7d}}}], else: old}
- {id: tier, kind: expr, cases: [{high: {tag.orders: {gte: 9}}}], else: low}
- {id: likes, kind: topk, event: product_viewed, value: properties.category}
- {id: rfm, kind: rfm, event: order_paid, value: properties.amount}
- {id: worth, kind: value_tier, of: tag.orders, quantiles: {}}
- {id: views, kind: per_key, event: product_viewed, value: properties.category}
policies:
  caps: {marketing: [{max: 1, per: local_day}]}
  quiet: {night: {from: "22:00", to: "08:00"}}
  exclusive: {conversion: {per: 1d}}
  templates: {t: {mini.subscribe: T1}, cart: {mini.subscribe: T2}}
rules:
"""
RULE = """
- id: r
  trigger: {event: order_paid}
  steps: [{send: {via: [log], template: t}}]
"""
TEXT = HEAD + RULE


def refused(text: str) -> ConfigInvalid:
    with pytest.raises(ConfigInvalid) as error:
        book(text)
    return error.value


def audience(raw: str) -> str:
    return TEXT + f"  audience: {raw}\n"


def trigger(raw: str) -> str:
    return TEXT.replace("{event: order_paid}\n  steps", f"{raw}\n  steps")


def via(raw: str, more: str = "", event: str = "message_received") -> str:
    text = TEXT.replace("via: [log]", f"via: {raw}") + more
    return text.replace("trigger: {event: order_paid}", f"trigger: {{event: {event}}}")


HOLD = "  guard: {quiet: {use: night}}\n"


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        # Types.
        (audience("{tag.orders: {gte: '5'}}"), "tag.orders is a number, '5' is a text", "quotes"),
        (audience("{tag.fan: 1}"), "tag.fan is true or false, 1 is a number", ""),
        (audience("{tag.fan: {gte: 1}}"), "gte never holds", ""),
        (audience("{tag.life: oldd}"), "tag.life is never oldd", "did you mean old?"),
        (audience("{tag.tier: {in: [high, middle]}}"), "tag.tier is never middle", "high, low"),
        (audience("{tag.likes: home}"), "tag.likes is a list", "has"),
        (audience("{tag.life: {has: old}}"), "is no list", "eq"),
        (audience("{tag.rfm.segment: important}"), "is never important", ""),
        (audience("{tag.rfm.r: high}"), "is a number, 'high' is a text", ""),
        (audience("{properties.amount: '5'}"), "properties.amount is a number", ""),
        (audience("{properties.order_id: {starts_with: 5}}"), "wants a text", ""),
        (audience("{tag.orders: {starts_with: a}}"), "no text", ""),
        (trigger("{event: order_paid, where: {properties.amount: x}}"), "amount is a number", ""),
        # Names.
        (audience("{tag.ordres: 1}"), "unknown tag ordres", "did you mean orders?"),
        (TEXT + "  guard: {cap: marketting}\n", "unknown cap", "did you mean marketing?"),
        (TEXT + "  guard: {quiet: {use: nite}}\n", "unknown quiet hours nite", "policies.quiet"),
        (TEXT + "  exclusive: conversions\n", "unknown group", "did you mean conversion?"),
        (TEXT + "  reentry: {cooldown: 1d, by: properties.amonut}\n", "no property amonut", ""),
        (TEXT + "  goal: {event: order_payd, within: 1d}\n", "unknown event order_payd", ""),
        (
            TEXT + "  goal: {event: order_paid, within: 1d, value: properties.order_id}\n",
            "is text, no number",
            "",
        ),
        (trigger("{tag: {id: lif, enters: old}}"), "unknown tag lif", "did you mean life?"),
        (trigger("{tag: {id: life, enters: odl}}"), "tag.life is never odl", "old"),
        (trigger("{tag: {id: rfm.rr, enters: 1}}"), "rfm (rfm) has no part rr", ""),
        (trigger("{tag: {id: life}}"), "exactly one of enters, leaves", ""),
        (
            trigger("{sequence: {within: 1h, steps: [{event: order_paid}, {event: order_piad}]}}"),
            "unknown event order_piad",
            "",
        ),
        (
            trigger(
                "{sequence: {within: 1h, join: [properties.sku], steps: "
                "[{event: product_viewed}, {event: order_paid}]}}"
            ),
            "order_paid has no property sku",
            "",
        ),
        (trigger("{sequence: {within: 1h, steps: [{event: order_paid}]}}"), "at least 2", ""),
        (trigger("{inactive: {event: order_piad, for: 1d}}"), "unknown event order_piad", ""),
        (
            trigger("{inactive: {for: 1d}}") + "  audience: {properties.amount: 1}\n",
            "a rule that inactive fires has no event to read",
            "tags",
        ),
        (trigger('{date: {birthday: contex.x, at: "09:00"}}'), "contex.x is not a path", "context"),
        (trigger('{date: {birthday: source, at: "09:00"}}'), "holds no birthday", "traits"),
        (trigger('{date: {at: "09:00"}}'), "exactly one of birthday, days", ""),
        # Times.
        (trigger("{date: {days: ['02-30'], at: 9:00}}"), "'02-30' is not a day", ""),
        (trigger("{date: {days: ['2027-02-29'], at: '09:00'}}"), "is not a day", ""),
        (trigger("{date: {days: ['02-29'], at: 9:00}}"), "540 is not a time of day", "quote"),
        (trigger("{date: {days: ['02-29'], at: '24:00'}}"), "'24:00' is not a time of day", ""),
        (trigger("{inactive: {for: 401d}}"), "longer than a user's state is kept", "400d"),
        (
            trigger("{date: {days: ['12-25'], at: '09:00'}}") + "  reentry: {cooldown: 365d}\n",
            "the day of the next year falls into it",
            "leave it out",
        ),
        (TEXT.replace('to: "08:00"', 'to: "22:00"'), "from and to are the same", ""),
        (TEXT.replace('to: "08:00"', 'to: "08:00", tz: Asia/Shangai'), "unknown time zone", ""),
        (TEXT + "  guard: {quiet: {use: night, hit: drop, max_hold: 1h}}\n", "is for hold", ""),
        (TEXT + "  exit: [{event: order_paid}]\n", "nothing waits", "a wait step"),
        (audience("{tag.worth: hihg}"), "tag.worth is never hihg", "high"),
        # Steps.
        (TEXT.replace("[{send", "[{wait: {}}, {send"), "wants for, until", ""),
        (TEXT.replace("[{send", "[{branch: {if: {tag.fan: true}}}, {send"), "neither then", ""),
        (
            TEXT.replace("[{send", "[{branch: {if: {tag.fn: true}, then: []}}, {send"),
            "unknown tag fn",
            "fan",
        ),
        (TEXT.replace("[{send", "[{id: a, wait: {for: 1d}}, {id: a, send"), "the id a", ""),
        # Channels.
        (via("[log, official.template]"), "marketing is forbidden on official.template", "service"),
        (via("[official.servce]"), "unknown channel official.servce", "official.service"),
        (
            via("[official.service]", HOLD, "official_account_followed"),
            "quiet hours may hold it 10h, official.service is open 1m",
            "max_hold below 1m",
        ),
        (
            via("[official.service]").replace("[{send", "[{wait: {for: 2d}}, {send"),
            "closed 2d after the event",
            "mini.subscribe",
        ),
        (
            via("[mini.subscribe]").replace("template: t}", "template: u}"),
            "template u has no id on mini.subscribe",
            "u: {mini.subscribe:",
        ),
        (
            via("[log, mini.subscribe]").replace("template: t}", "template: carts}"),
            "template carts has no id on mini.subscribe",
            "did you mean cart?",
        ),
        (via("[official.subscribe]"), "template t has no id on official.subscribe", "templates"),
    ],
)
def test_lint_says_what_is_wrong_where_and_what_to_do(text: str, problem: str, hint: str) -> None:
    error = refused(text)
    told = f"{error.problem} / {error.hint}"
    assert problem in error.problem, told
    assert hint in told, told
    assert error.line is not None
    assert error.line > HEAD.count("\n") or "zone" in problem or "the same" in problem


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        via("[official.service]", HOLD),  # 10 hours of 48
        via("[official.service, mini.subscribe]", HOLD, "official_account_followed"),
        via(
            "[official.service]",
            HOLD.replace("night", "night, hit: send"),
            "official_account_followed",
        ),
        via("[official.template]", "  purpose: service\n"),
        via("[our.own_channel]"),
        audience("{tag.life: {ne: old}}"),
        audience("{all: [{tag.likes: {has: home}}, {tag.rfm.segment: important_value}]}"),
        audience("{properties.amount: {gt: $tag.orders}}"),
        audience("{not: {tag.orders: {exists: true}}}"),
        # Bounds come later, by `siyu tags bounds`; a key may be called as another tag's part.
        audience("{tag.worth: high, tag.views.segment: {gte: 2}}"),
    ],
)
def test_what_is_right_passes(text: str) -> None:
    assert len(book(text).rules) == 1
