"""Rules as authors write them: trigger, audience, guards, steps, exits, goal."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.authoring import Authored, Channel, DurationMs, EventPath, Id, Match
from schemas.conditions import Asking, Audience, anything
from schemas.triggers import ClockMinutes, Trigger, WithinMs

Status = Literal["draft", "shadow", "live", "paused"]
# marketing is what channels forbid or users may refuse; service answers what the user did.
Purpose = Literal["marketing", "service"]
Hit = Literal["hold", "drop", "send"]


class Reentry(Authored):
    """How soon the rule may take the same user again (by value of ``by``), by decision time."""

    cooldown_ms: DurationMs = Field(alias="cooldown")
    by: EventPath | None = None


class Quiet(Authored):
    """What quiet hours do to a send: ``hold`` it to their end, ``drop`` it, or ``send`` anyway.

    What would be held for longer than ``max_hold`` is dropped. With ``recheck`` the
    audience is asked again at the end.
    """

    use: Id
    hit: Hit = "hold"
    max_hold_ms: DurationMs | None = Field(None, alias="max_hold")
    recheck: bool = True


class Guard(Authored):
    """What holds touches back: ``holdout`` percent of users get none, ``cap`` bounds them."""

    holdout: float = Field(0, ge=0, le=100)
    cap: Id | None = None
    quiet: Quiet | None = None


class Variant(Authored):
    """One side of a test; a user is on the same side of a rule for ever."""

    id: Id
    weight: int = Field(ge=1)


class Send(Authored):
    """Send ``template`` over the first channel of ``via`` that can reach the user."""

    via: list[Channel] = Field(min_length=1)
    template: Id


class Wait(Authored):
    """Wait ``for`` so long, then ``until`` it is that time of day where the user is; or one.

    Whole days before an ``until`` are days of the calendar, else a day is 24 hours.
    """

    for_ms: WithinMs | None = Field(None, alias="for")
    until_min: ClockMinutes | None = Field(None, alias="until")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.for_ms is None and self.until_min is None:
            raise PydanticCustomError("wait", "a wait wants for, until, or both")
        return self


class Branch(Authored):
    """Go on with ``then`` if the condition holds at that time, with ``else`` if not."""

    when: Annotated[Audience, Asking] = Field(alias="if")
    then: list["Step"] = Field(default_factory=list["Step"])
    otherwise: list["Step"] = Field(default_factory=list["Step"], alias="else")


class Step(Authored):
    """One step of the flow: exactly one of ``send``, ``wait``, ``branch``.

    Who waits in a step goes on from the one of the same ``id`` when the rulebook changes;
    without it, from the one at the same place.
    """

    id: Id | None = None
    send: Send | None = None
    wait: Wait | None = None
    branch: Branch | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(action is not None for action in (self.send, self.wait, self.branch)) != 1:
            raise PydanticCustomError("one_step", "a step is exactly one of send, wait, branch")
        return self


class Goal(Match):
    """What the rule is for: it counts for users in the holdout, too, up to ``within`` later.

    ``value`` is a path to a number of the event: what the conversion is worth.
    """

    within_ms: WithinMs = Field(alias="within")
    value: EventPath | None = None


class Rule(Authored):
    """One rule; ``status`` draft and paused are not run, shadow decides but sends nothing.

    Of the rules of one ``exclusive`` group that an event fires, the one of the highest
    ``priority`` fires; among equals the one that stands first in the rulebook.
    """

    id: Id
    description: str = ""
    status: Status = "live"
    purpose: Purpose = "marketing"
    trigger: Trigger
    audience: Audience = Field(default_factory=anything)
    reentry: Reentry | None = None
    priority: int = Field(0, ge=0, le=1000)
    exclusive: Id | None = None
    guard: Guard = Guard()
    variants: list[Variant] = Field(default_factory=list[Variant])
    steps: list[Step] = Field(min_length=1)
    exit: list[Match] = Field(default_factory=list[Match])
    goal: Goal | None = None
