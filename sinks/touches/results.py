"""The result of a touch as an event of its user, which triggers rules as any other does."""

from typing import Final

from schemas.events import Event
from schemas.tags import TOUCH_FAILED
from schemas.touches import Receipt

# Names the sender of these events where a door would name the account.
ACCOUNT: Final = "siyu-deliver"


def failure_event(receipt: Receipt) -> Event:
    """Return the event of a touch that no channel took: its place in the caps is free again."""
    return Event(
        message_id=f"{receipt.touch_id}-failed",
        type="track",
        event=TOUCH_FAILED,
        user=receipt.user,
        source="server",
        door="native",
        account=ACCOUNT,
        timestamp_ms=receipt.time_ms,
        received_at_ms=receipt.time_ms,
        properties={
            "touch_id": receipt.touch_id,
            "rule": receipt.rule,
            "channel": receipt.channel,
            "template": receipt.template,
            "code": receipt.code,
        },
    )
