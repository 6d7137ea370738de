"""What the engine says and what became of it: tag changes, decisions, touches, receipts."""

from typing import Annotated, Any, Literal

import msgspec

# held: quiet hours, or a wait before the first send; converted: the goal of a rule was reached.
Outcome = Literal["sent", "held", "suppressed", "exited", "holdout", "converted"]
# unknown: the sender crashed or timed out after the call went out; never sent again by itself.
DeliveryStatus = Literal["sent", "failed", "unknown"]


class TagChange(msgspec.Struct, rename="camel", kw_only=True):
    """A tag of a user took another value; ``None`` is absence (not yet set, or expired).

    ``message_id`` is the event that moved it, empty where time alone did.
    """

    tag: str
    before: Any
    after: Any
    time_ms: int
    message_id: str = ""


class TagChanges(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """All that one event, or one moment, moved of a user's tags: a record of topic `tags`.

    ``changes`` are ``[tag, before, after]``, a tag once at most; ``null`` is absence. User,
    tag, time and message id tell a change from all others: a replay makes the same.
    """

    user: str
    time_ms: int
    message_id: str = ""
    changes: Annotated[list[tuple[str, Any, Any]], msgspec.Meta(min_length=1)]


class Decision(msgspec.Struct, rename="camel", kw_only=True):
    """One evaluation of a rule that got past its trigger, also when nothing was sent.

    ``decision_id`` is derived from (rule, version, user, trigger): a replay makes the
    same. ``trigger`` is the message id of the event, ``trigger_kind`` the rule's trigger.
    ``tags`` are the values that the audience read; ``trace`` the conditions, in order.
    ``variant`` stands in all decisions from the holdout's draw on; ``value`` is what a
    conversion is worth. ``rulebook`` is the version of the whole that was in force.
    """

    decision_id: str
    rule: str
    rule_version: str
    user: str
    outcome: Outcome
    reason: str
    time_ms: int
    trigger_kind: str
    trigger: str
    touch_id: str = ""
    variant: str = ""
    tags: dict[str, Any] = {}
    trace: list[dict[str, Any]] = []
    value: float | None = None
    rulebook: str = ""


class Touch(msgspec.Struct, rename="camel", kw_only=True):
    """A message to send: deterministic id, whom, over which channels in order of wish.

    ``template_ids`` are the platforms' ids of the template, by channel.
    """

    touch_id: str
    rule: str
    rule_version: str
    user: str
    via: list[str]
    template: str
    time_ms: int
    variant: str = ""
    identities: dict[str, str] = {}
    properties: dict[str, Any] = {}
    template_ids: dict[str, str] = {}


class Receipt(msgspec.Struct, rename="camel", kw_only=True):
    """What became of a touch on its channel; ``code`` is the channel's own answer."""

    touch_id: str
    rule: str
    rule_version: str
    user: str
    channel: str
    template: str
    status: DeliveryStatus
    attempts: int
    time_ms: int
    variant: str = ""
    code: str = ""
    detail: str = ""


encode = msgspec.json.Encoder().encode
decode_touch = msgspec.json.Decoder(Touch).decode
decode_decision = msgspec.json.Decoder(Decision).decode
decode_tag_changes = msgspec.json.Decoder(TagChanges).decode
decode_receipt = msgspec.json.Decoder(Receipt).decode
