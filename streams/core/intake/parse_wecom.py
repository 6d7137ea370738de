"""WeCom's (企业微信) callbacks: one decrypted message about an external contact to a parsed item.

An external contact is known to a company as ``ExternalUserID``: here that is the openid,
spelled ``<corpid>:<external user id>``. ``State`` is the channel of the contact-me code
(渠道活码) and ``WelcomeCode`` allows one welcome within 20 seconds.
Source of the names: WeCom's documents on "客户联系" events.
"""

from typing import Any, Final

from pydantic import ValidationError

from schemas.inbound import WeComMessage
from schemas.raw import RawRecord
from schemas.rejects import Reject
from streams.core.intake import attribution
from streams.core.intake.parse_wechat import read_fields, snake
from streams.core.intake.parsed_item import ParsedItem
from streams.core.intake.reject_reasons import reject_of

_NAME_MAX: Final = 128
_CHANGES: Final = {
    "add_external_contact": "wecom_contact_added",
    "edit_external_contact": "wecom_contact_edited",
    "add_half_external_contact": "wecom_contact_half_added",
    "del_external_contact": "wecom_contact_deleted",
    "del_follow_user": "wecom_staff_deleted",
    "transfer_fail": "wecom_transfer_failed",
}
# These are the context's or the identity's; all else is the event's own.
_COMMON: Final = frozenset(
    {
        "ToUserName",
        "FromUserName",
        "CreateTime",
        "MsgType",
        "Event",
        "ChangeType",
        "AgentID",
        "MsgId",
        "UserID",
        "ExternalUserID",
        "State",
        "WelcomeCode",
        "UnionId",
        "unionid",
    }
)


def parse_wecom(raw: RawRecord) -> ParsedItem | Reject:
    """Return the parsed item of one message; ``envelope.account`` is the corpid."""
    fields = read_fields(raw.body)
    if isinstance(fields, Reject):
        return fields
    try:
        message = WeComMessage.model_validate(fields)
    except ValidationError as error:
        return reject_of(error)
    corpid = raw.envelope.account
    contact = message.external_user_id or _sender(message)
    return ParsedItem(
        message_id=_message_id(message),
        type="track",
        event=_event(message)[:_NAME_MAX],
        original_ms=message.create_time_s * 1000,
        sent_ms=None,
        identities={
            "openid": f"{corpid}:{contact}" if contact else None,
            "unionid": fields.get("UnionId") or fields.get("unionid"),
        },
        context=_context(message, corpid),
        properties={snake(k): value for k, value in fields.items() if k not in _COMMON},
        traits={},
    )


def _event(message: WeComMessage) -> str:
    if message.msg_type != "event":
        return "wecom_message_received"
    known = _CHANGES.get(message.change_type)
    if known and message.event == "change_external_contact":
        return known
    return "_".join(["wecom", *map(snake, filter(None, (message.event, message.change_type)))])


def _sender(message: WeComMessage) -> str:
    """Return who wrote a message; events come from ``sys``, who is nobody."""
    return "" if message.from_user_name == "sys" else message.from_user_name


def _context(message: WeComMessage, corpid: str) -> dict[str, Any]:
    context: dict[str, Any] = {"app": {"id": corpid}}
    if message.user_id:
        context["staff"] = message.user_id
    if message.welcome_code:
        context["welcome_code"] = message.welcome_code
    if message.state:
        context["state"] = message.state
        context["channel"] = attribution.of_qr(message.state)
    return context


def _message_id(message: WeComMessage) -> str:
    """Return a key of the fact: WeCom gives events none, and the same second has many."""
    if message.msg_id:
        return message.msg_id
    who = f"{message.external_user_id or message.from_user_name}:{message.user_id}"
    what = f"{message.event or message.msg_type}:{message.change_type}"
    return f"{who}:{message.create_time_s}:{what}"
