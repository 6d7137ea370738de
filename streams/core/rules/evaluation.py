"""What the parts of a rule share: the effects of a step, and one evaluation as it goes."""

from dataclasses import dataclass, field
from typing import Any, Final

from schemas.events import Event
from schemas.touches import Decision, TagChange, Touch
from streams.core.state.user import State

# A timer that could run only this much after its time acts by the clock on the wall.
LAG_MS: Final = 10 * 60_000


class Effects:
    """What a step of the engine says, in order.

    ``claims`` are the exclusive groups of which a rule was heard at this event or due.
    ``now_ms`` is the time of the lane at the event, where its caller told it.
    """

    # Plain, since the core makes one for each event: a dataclass fills it by Python's own code.
    __slots__ = ("claims", "decisions", "now_ms", "tag_changes", "touches")

    def __init__(self, now_ms: int = 0) -> None:
        self.tag_changes: list[TagChange] = []
        self.decisions: list[Decision] = []
        self.touches: list[Touch] = []
        self.claims: set[str] = set()
        self.now_ms = now_ms

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Effects)
            and self.tag_changes == other.tag_changes
            and self.decisions == other.decisions
            and self.touches == other.touches
            and self.claims == other.claims
            and self.now_ms == other.now_ms
        )

    __hash__ = None  # type: ignore[assignment]  # it changes


@dataclass(slots=True)
class Hearing:
    """One evaluation: the event and time it is about, and what was looked at.

    ``at_ms`` is the decision's time, ``clock_ms`` when a touch would really go out: an event
    that came late is not answered in the past. ``version`` and ``trigger`` are what the ids
    are made of; ``begun`` says that the rule was entered before.
    """

    state: State
    event: Event
    at_ms: int
    clock_ms: int
    trigger: str
    version: str
    late: bool
    begun: bool = False
    variant: str = ""
    key: str = ""
    told: int = 0
    tags: dict[str, Any] = field(default_factory=dict)
    trace: list[dict[str, Any]] = field(default_factory=list)

    def note(self, condition: str, value: object, *, ok: bool) -> None:
        """Keep what a condition saw."""
        self.trace.append({"if": condition, "value": value, "ok": ok})


def timely(due_ms: int, fire_at_ms: int, now_ms: int) -> int:
    """Return when what was due acts: then, or now if an outage held it up."""
    return due_ms if now_ms - fire_at_ms <= LAG_MS else now_ms


def no_event(user: str, name: str, at_ms: int) -> Event:
    """Return what stands for the event where time alone fired a rule."""
    return Event(
        message_id="", type="track", event=name, user=user, source="server", door="native",
        account="", timestamp_ms=at_ms, received_at_ms=at_ms,
    )  # fmt: skip
