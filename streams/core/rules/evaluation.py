"""What the parts of a rule share: a step's context, its effects, one evaluation as it goes."""

from dataclasses import dataclass, field
from typing import Any, Final

from schemas.events import Event
from schemas.touches import Decision, TagChange, Touch
from streams.core.state.user import LATE_MS, State

# What keeps facts of the user (windows, consents, refunds, zones) comes before all rules, then
# goals: a rule that the same event fires already sees them.
FACTS_FIRST: Final = 20_000
GOALS_NEXT: Final = 10_000
# A timer that runs later than this after its time acts as of now.
LAG_MS: Final = 10 * 60_000


class Effects:
    """What follows from an event or a timer, in order."""

    # Plain, since the core makes one for each event: a dataclass fills it by Python's own code.
    __slots__ = ("decisions", "tag_changes", "touches")

    def __init__(self) -> None:
        self.tag_changes: list[TagChange] = []
        self.decisions: list[Decision] = []
        self.touches: list[Touch] = []

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Effects)
            and self.tag_changes == other.tag_changes
            and self.decisions == other.decisions
            and self.touches == other.touches
        )

    __hash__ = None  # type: ignore[assignment]  # it changes


class Context:
    """What the engine knows while it works on one event or one due timer.

    ``event`` is the event that arrived or set the timer, or stands for time alone. ``at_ms`` is
    its time or the timer's due, ``now_ms`` the lane's time (0 if unknown); ``late``: it is too
    late to act. ``claims`` are the exclusive groups of which a rule was chosen in this step.
    """

    __slots__ = ("at_ms", "claims", "effects", "event", "late", "now_ms", "state")

    def __init__(
        self,
        state: State,
        event: Event,
        at_ms: int,
        now_ms: int,
        effects: Effects,
        *,
        late: bool,
        claims: set[str],
    ) -> None:
        self.state, self.event, self.effects = state, event, effects
        self.at_ms, self.now_ms, self.late = at_ms, now_ms, late
        self.claims = claims

    def about(self, event: Event) -> "Context":
        """Return the same step and time about another event."""
        return Context(
            self.state,
            event,
            self.at_ms,
            self.now_ms,
            self.effects,
            late=self.late,
            claims=self.claims,
        )


def timer_context(
    state: State, event: Event, due_ms: int, now_ms: int, effects: Effects, *, claims: set[str]
) -> Context:
    """Return the context of what was due at a time; ``event`` set the timer, or stands for time."""
    late = now_ms - due_ms > LATE_MS
    return Context(state, event, due_ms, now_ms, effects, late=late, claims=claims)


@dataclass(slots=True)
class Evaluation:
    """One evaluation of a rule: its inputs, and what its conditions read.

    ``clock_ms`` is when a touch would really go out: an event that came late is not answered
    in the past. Ids are made of ``version`` and ``trigger``. ``begun``: the user entered the
    rule before; ``decided`` counts the decisions of this evaluation.
    """

    context: Context
    clock_ms: int
    trigger: str
    version: str
    begun: bool = False
    variant: str = ""
    key: str = ""
    decided: int = 0
    tags: dict[str, Any] = field(default_factory=dict)
    trace: list[dict[str, Any]] = field(default_factory=list)

    def note(self, condition: str, value: object, *, ok: bool) -> None:
        """Record what a condition read."""
        self.trace.append({"if": condition, "value": value, "ok": ok})


def timely(due_ms: int, fire_at_ms: int, now_ms: int) -> int:
    """Return the time as of which a due acts: the due itself, or now if an outage delayed it."""
    return due_ms if now_ms - fire_at_ms <= LAG_MS else now_ms


def no_event(user: str, name: str, at_ms: int) -> Event:
    """Return the stand-in for the event where time alone fires a rule."""
    return Event(
        message_id="",
        type="track",
        event=name,
        user=user,
        source="server",
        door="native",
        account="",
        timestamp_ms=at_ms,
        received_at_ms=at_ms,
    )
