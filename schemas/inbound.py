"""What the front doors take: which there are, and each one's item as the outside spells it.

Unknown keys are ignored here: SDKs add their own with each release, and the bytes
stay in ``events.raw``. Facts: the SDKs' sources, and WeChat's "接收普通消息/事件推送".
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# A door is a protocol of producers: how an item is parsed. native is Segment's item, from
# producers that write to Kafka themselves.
Door = Literal["native", "segment", "sensors", "wechat", "wecom"]
# Segment's Python SDK takes numbers as ids and some callers' JSON keeps them numbers.
Id = Annotated[str, Field(coerce_numbers_to_str=True, max_length=256)]
EventName = Annotated[str, Field(max_length=128)]
Object = dict[str, Any]
# Year 2200: a client time beyond it is a unit error (µs or ns for ms), never a clock.
EpochMs = Annotated[int, Field(ge=0, le=7_258_118_400_000)]


class SegmentItem(BaseModel):
    """One message of a Segment or RudderStack SDK, or of ``POST /v1/...`` by hand.

    ``identities`` is ours: kinds of ``schemas.identities``, or plain ``phone`` and
    ``email``, which become HMACs. Times are ISO 8601; without a zone they are UTC.
    """

    model_config = ConfigDict(extra="ignore")

    type: Literal["track", "identify", "page", "screen", "group", "alias"] | None = None
    message_id: Id | None = Field(None, alias="messageId")
    event: EventName | None = None
    name: EventName | None = None
    category: EventName | None = None
    user_id: Id | None = Field(None, alias="userId")
    anonymous_id: Id | None = Field(None, alias="anonymousId")
    previous_id: Id | None = Field(None, alias="previousId")
    group_id: Id | None = Field(None, alias="groupId")
    timestamp: datetime | None = None
    original_timestamp: datetime | None = Field(None, alias="originalTimestamp")
    sent_at: datetime | None = Field(None, alias="sentAt")
    context: Object | None = None
    properties: Object | None = None
    traits: Object | None = None
    identities: Object | None = None


class SensorsItem(BaseModel):
    """One item of a Sensors Data (神策) SDK; ``time`` and ``_flush_time`` are epoch ms."""

    model_config = ConfigDict(extra="ignore")

    type: Annotated[str, Field(max_length=64)]
    event: EventName | None = None
    distinct_id: Id | None = None
    anonymous_id: Id | None = None
    login_id: Id | None = None
    original_id: Id | None = None
    identities: Object | None = None
    time: EpochMs | None = None
    flush_time: EpochMs | None = Field(None, alias="_flush_time")
    track_id: Id | None = Field(None, alias="_track_id")
    project: Id | None = None
    lib: Object | None = None
    properties: Object | None = None


class WeChatMessage(BaseModel):
    """One decrypted push of WeChat, from its XML or its JSON form; ``CreateTime`` is in seconds.

    ``MsgID`` names the template message that a report is about; ``MsgId`` is the
    message's own id. They differ only in the last letter and never come together.
    """

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    to_user_name: Id = Field("", alias="ToUserName")
    from_user_name: Id = Field(alias="FromUserName")
    create_time_s: Annotated[int, Field(ge=0, le=7_258_118_400)] = Field(alias="CreateTime")
    msg_type: Annotated[str, Field(max_length=64)] = Field(alias="MsgType")
    event: Annotated[str, Field(max_length=100)] = Field("", alias="Event")
    event_key: str = Field("", alias="EventKey")
    msg_id: Id = Field("", alias="MsgId")
    report_msg_id: Id = Field("", alias="MsgID")


class WeComMessage(BaseModel):
    """One decrypted callback of WeCom (企业微信); ``CreateTime`` is in seconds.

    ``UserID`` is the member of staff, ``ExternalUserID`` the contact.
    """

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    from_user_name: Id = Field("", alias="FromUserName")
    create_time_s: Annotated[int, Field(ge=0, le=7_258_118_400)] = Field(alias="CreateTime")
    msg_type: Annotated[str, Field(max_length=64)] = Field(alias="MsgType")
    event: Annotated[str, Field(max_length=100)] = Field("", alias="Event")
    change_type: Annotated[str, Field(max_length=100)] = Field("", alias="ChangeType")
    msg_id: Id = Field("", alias="MsgId")
    user_id: Id = Field("", alias="UserID")
    external_user_id: Id = Field("", alias="ExternalUserID")
    state: Annotated[str, Field(max_length=256)] = Field("", alias="State")
    welcome_code: Annotated[str, Field(max_length=256)] = Field("", alias="WelcomeCode")
