"""Laws of consents: in whatever order answers arrive; never a send more than was allowed."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Event
from tests.engine_story import engine, event, feed

ENGINE = engine("""
policies: {templates: {t: {mini.subscribe: T0}}}
rules:
- id: r
  purpose: service
  trigger: {event: coupon_received}
  steps: [{send: {via: [mini.subscribe], template: t}}]
- {id: m, trigger: {event: coupon_received}, steps: [{send: {via: [sms], template: m}}]}
""")
TEMPLATES = st.sampled_from(["T0", "T1"])
ANSWERS = st.one_of(
    st.builds(
        lambda at, ids, answer: event(
            "subscription_prompted",
            at,
            templates=[{"template_id": one, "answer": answer} for one in ids],
        ),
        st.integers(0, 20),
        st.lists(TEMPLATES, max_size=3),
        st.sampled_from(["accept", "reject"]),
    ),
    st.builds(
        lambda at, name, channel: event(name, at, **channel),
        st.integers(0, 20),
        st.sampled_from(["marketing_refused", "marketing_allowed"]),
        st.sampled_from([{}, {"channel": "sms"}, {"channel": "log"}]),
    ),
)


@given(st.lists(ANSWERS, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(story: list[Event], random: Random) -> None:
    shuffled = list(story)
    random.shuffle(shuffled)
    states = [ENGINE.load(None), ENGINE.load(None)]
    for state, some in zip(states, (story, shuffled), strict=True):
        feed(ENGINE, state, some)
    one, other = states
    assert one.consents == other.consents
    assert one.answers == other.answers


@given(st.lists(st.one_of(ANSWERS, st.just("send")), max_size=40))
def test_no_send_more_than_was_allowed_and_none_to_who_refused(story: list[Event | str]) -> None:
    state = ENGINE.load(None)
    accepts, no = 0, {"*": False, "sms": False}
    for minute, what in enumerate(story):
        if isinstance(what, str):
            sent = [t.rule for t in feed(ENGINE, state, [event("coupon_received", minute)]).touches]
            assert sent.count("r") == (accepts > 0)
            assert sent.count("m") == (not any(no.values()))
            accepts -= sent.count("r")
            continue
        # In order: each answer now.
        feed(ENGINE, state, [event(what.event, minute, **what.properties)])
        for entry in what.properties.get("templates", []):
            if entry["template_id"] == "T0":
                accepts = accepts + 1 if entry["answer"] == "accept" else 0
        if what.event.startswith("marketing"):
            channel = what.properties.get("channel", "*")
            if channel in no:
                no[channel] = what.event == "marketing_refused"
        state = ENGINE.load(ENGINE.dump(state))
