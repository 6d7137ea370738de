"""Why a rule said nothing of a user: which part of its trigger did not come to pass.

A rule decides only when its trigger fires, so a silence has its cause there. This looks at a
user's events the way an author reads the rule, part by part; what fires is for the engine
to say.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from schemas.authoring import spell_duration
from schemas.conditions import Condition, parse_ref
from schemas.events import Event
from schemas.rules import Rule
from schemas.triggers import Absence, Count, Inactive, TagMove
from schemas.triggers import Sequence as Steps
from streams.core.event_time import event_time_ms
from streams.core.language.compile import audience, getter
from streams.core.language.join_keys import key_of
from streams.core.rules.triggers import ANY

_WAITS_EXPLAINED: Final = 3
Key = Callable[[Event], str | None]


@dataclass(slots=True)
class Silence:
    """Why there is no decision, in sentences; ``trace`` is what a failed condition saw."""

    rule: str
    why: list[str] = field(default_factory=list)
    trace: list[dict[str, Any]] = field(default_factory=list)


def why_not(rule: Rule, events: Sequence[Event], tags: dict[str, object], now_ms: int) -> Silence:
    """Return why a rule's trigger did not fire on a user's events; ``tags`` are those of now."""
    silence, trigger = Silence(rule.id), rule.trigger
    if rule.status in ("draft", "paused"):
        silence.why.append(f"the rule is {rule.status}: it is not run")
    if trigger.event is not None:
        matching = _part(silence, "event", trigger.event, trigger.where, events)
        if matching:
            silence.why.append(f"{len(matching)} events match its trigger {_last(matching)}")
    elif trigger.count is not None:
        _count(silence, trigger.count, events)
    elif trigger.sequence is not None:
        _sequence(silence, trigger.sequence, events)
    elif trigger.absence is not None:
        _absence(silence, trigger.absence, events, now_ms)
    elif trigger.inactive is not None:
        _inactive(silence, trigger.inactive, events, now_ms)
    elif trigger.tag is not None:
        _tag(silence, trigger.tag, tags)
    else:
        silence.why.append("no day that it waits for came since the user's first event")
    return silence


def _part(
    silence: Silence, label: str, names: Iterable[str], where: Condition, events: Sequence[Event]
) -> list[Event]:
    """Return the events of one part; where there are none, say whether name or condition failed."""
    wanted = set(names)
    named = [e for e in events if ANY in wanted or e.event in wanted]
    if not named:
        spelled = " or ".join(sorted(wanted))
        silence.why.append(f"{label}: none of the user's {len(events)} events is {spelled}")
        return []
    asked = audience(where.node)
    if asked is None:
        return named
    passed, trace = [], list[dict[str, Any]]()
    for event in named:
        trace = []

        def note(index: int, left: object, right: object, ok: object) -> object:  # noqa: ARG001 - the compiler's signature
            trace.append({"if": asked.texts[index], "value": left, "ok": bool(ok)})  # noqa: B023 - called at once
            return ok

        if asked.holds(event, _no_tag, note):
            passed.append(event)
    if not passed:
        silence.why.append(
            f"{label}: the condition failed for all {len(named)} of {' or '.join(sorted(wanted))}, "
            f"{_last(named)}"
        )
        silence.trace = trace
    return passed


def _tag(silence: Silence, move: TagMove, tags: dict[str, object]) -> None:
    way, value = ("leave", move.leaves) if move.enters is None else ("enter", move.enters)
    now = tags.get(move.id.partition(".")[0])
    silence.why.append(f"the tag {move.id} did not {way} {value!r}: it is {now!r} now")


def _count(silence: Silence, count: Count, events: Sequence[Event]) -> None:
    counted = _part(silence, "count", count.event, count.where, events)
    if not counted:
        return
    key = _key([count.by] if count.by else [])
    best, best_key = 0, ""
    for name, times in _times_by(key, counted).items():
        for i, end_ms in enumerate(times):
            n = sum(end_ms - count.within_ms <= time_ms for time_ms in times[: i + 1])
            if n > best:
                best, best_key = n, name
    of = f" of {count.by} {best_key!r}" if count.by else ""
    silence.why.append(
        f"count {min(best, count.n)} of {count.n} within {spell_duration(count.within_ms)}{of}"
        f" ({len(counted)} such events in all)"
    )


def _sequence(silence: Silence, sequence: Steps, events: Sequence[Event]) -> None:
    key, reached = _key(sequence.join), 0
    by_step: list[list[Event]] = []
    for i, step in enumerate(sequence.steps):
        by_step.append(_part(silence, f"step {i + 1}", step.event, step.where, events))
        if not by_step[-1]:
            break
    for first in by_step[0]:
        start_ms = at_ms = event_time_ms(first)
        here = 1
        for candidates in by_step[1:]:
            times = [event_time_ms(event) for event in candidates if key(event) == key(first)]
            end_ms = start_ms + sequence.within_ms
            later = [time_ms for time_ms in times if at_ms < time_ms <= end_ms]
            if not later:
                break
            at_ms, here = min(later), here + 1
        reached = max(reached, here)
    silence.why.append(
        f"sequence {reached} of {len(sequence.steps)} steps in order within "
        f"{spell_duration(sequence.within_ms)}"
    )


def _absence(silence: Silence, absence: Absence, events: Sequence[Event], now_ms: int) -> None:
    after = absence.after
    starts = _part(silence, "absence after", after.event, after.where, events)
    if not starts:
        return
    aside = Silence(silence.rule)
    nones = _part(aside, "none", absence.none.event, absence.none.where, events)
    key = _key(absence.none.join)
    for start in starts[-_WAITS_EXPLAINED:]:
        start_ms = event_time_ms(start)
        due_ms = start_ms + absence.within_ms
        sentence = f"the wait from {start.event} at {_moment(start_ms)}"
        mine = key(start)
        ended = [
            (event_time_ms(event), event.event)
            for event in nones
            if key(event) == mine
            and start_ms <= event_time_ms(event) <= due_ms
            and event is not start
        ]
        again = [
            event_time_ms(event)
            for event in starts
            if key(event) == mine and start_ms < event_time_ms(event) <= due_ms
        ]
        if mine is None:
            sentence += f" did not begin: it lacks {' or '.join(absence.none.join)}"
        elif ended:
            at_ms, name = min(ended)
            sentence += f" was ended by {name} at {_moment(at_ms)}"
        elif again and absence.again == "restart":
            sentence += f" began anew at {_moment(again[0])}"
        elif due_ms > now_ms:
            sentence += f" goes on until {_moment(due_ms)}"
        else:
            sentence += f" came to its end at {_moment(due_ms)}"
        silence.why.append(sentence)


def _inactive(silence: Silence, inactive: Inactive, events: Sequence[Event], now_ms: int) -> None:
    active = _part(silence, "inactive", inactive.event, inactive.where, events)
    if not active:
        return
    last_ms = max(event_time_ms(event) for event in active)
    due_ms = last_ms + inactive.for_ms
    verb = "would be" if due_ms > now_ms else "was"
    silence.why.append(
        f"the user was last active at {_moment(last_ms)}: "
        f"{spell_duration(inactive.for_ms)} of silence {verb} over at {_moment(due_ms)}"
    )


def _times_by(key: Key, events: Iterable[Event]) -> dict[str, list[int]]:
    by_key: dict[str, list[int]] = {}
    for event in events:
        name = key(event)
        if name is not None:
            by_key.setdefault(name, []).append(event_time_ms(event))
    return {name: sorted(times) for name, times in by_key.items()}


def _key(paths: Sequence[str]) -> Key:
    getters = [getter(parse_ref(path, (), tags=False)) for path in paths]
    return lambda event: key_of(getters, event)


def _no_tag(tag: str) -> object:  # noqa: ARG001 - a trigger's condition reads none
    return None


def _last(events: Sequence[Event]) -> str:
    return f"the last at {_moment(max(event_time_ms(event) for event in events))}"


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
