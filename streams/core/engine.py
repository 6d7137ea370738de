"""The engine: a pure fold of one user's events and timers into tags, decisions, touches.

No clock and no randomness: the same rulebook, state and inputs give the same effects, so
live traffic, tests of rules, backtests and rebuilds are one code. Duplicates and replays
are for the caller to skip. Times are epoch ms.

A value read by a rule is right at the decision's time: the event's, or the due of a wait.
What time alone moves is written as a change by a timer when a flag or an emptied window
expires or a stage is reached, and for a window that only shrinks or a score that only fades
at the tag's next event or expiry. A tag made of others is written along with them.
"""

from collections.abc import Iterable
from typing import Final, TypeVar

from schemas.authoring import Condition
from schemas.events import Event
from schemas.rules import Rule
from schemas.tags import SILENT, EventTag, ExprTag, FlagTag
from streams.core.catalogue import make_value
from streams.core.compile import Getter, Predicate, audience, getter, predicate
from streams.core.conditions import parse, parse_ref, refs
from streams.core.rulebook import Rulebook
from streams.core.rules import Effects, LiveRule
from streams.core.state import LATE_MS, State, Timer, event_time_ms, pack, unpack
from streams.core.tags import Arm, LiveExpr, LiveTag, by_event, by_time, in_order
from streams.core.timers import OnPart, Waits
from streams.core.triggers import OnCount, OnEvent, Trigger

ANY: Final = "*"
T = TypeVar("T")


class Engine:
    """A rulebook made runnable; holds no state of users, so one serves all of them."""

    def __init__(self, rulebook: Rulebook, *, settle_ms: int = 3000) -> None:
        self.rulebook = rulebook
        self._settle_ms = settle_ms
        self._tags: dict[str, LiveTag | LiveExpr] = {
            tag.id: LiveExpr(tag) if isinstance(tag, ExprTag) else LiveTag(tag)
            for tag in rulebook.tags
        }
        exprs = [one for one in self._tags.values() if isinstance(one, LiveExpr)]
        for expr in exprs:
            expr.bind(self._tags)
        self._exprs = in_order(exprs)
        self._waits: dict[str, Waits] = {}
        arms = [
            (name, arm)
            for tag in rulebook.tags
            if not isinstance(tag, ExprTag)
            for name, arm in self._arms(tag)
        ]
        triggers = [(name, one) for rule in rulebook.rules for name, one in self._triggers(rule)]
        self._arms_by_event = _index(arms)
        self._exprs_by_event = {
            name: self._moved(arms) for name, arms in self._arms_by_event.items()
        }
        self._triggers_by_event = _index(triggers)

    def load(self, packed: bytes | None) -> State:
        """Return the state of packed bytes, a new one of ``None``."""
        return unpack(packed)

    def dump(self, state: State) -> bytes:
        """Return the bytes of a state."""
        return pack(state)

    def on_event(self, state: State, event: Event) -> Effects:
        """Fold an event into the state; return what follows from it."""
        effects = Effects()
        at_ms = event_time_ms(event)
        late = at_ms < state.latest_ms - LATE_MS or "late" in event.marks
        state.latest_ms = clock_ms = max(state.latest_ms, at_ms)
        if state.expiry_ms and state.expiry_ms <= clock_ms:
            self._expire(state, event.user, clock_ms, effects)
        if event.identities:
            state.identities.update(event.identities)
        name = event.event
        for arm in self._arms_by_event.get(name, self._arms_by_event[ANY]):
            change = arm.fold(state, event, at_ms, clock_ms)
            if change is not None:
                effects.tag_changes.append(change)
        exprs = self._exprs_by_event.get(name)
        for expr in self._exprs_by_event[ANY] if exprs is None else exprs:
            before, after = expr.move(state, clock_ms)
            if before != after:
                effects.tag_changes.append(by_event(event, expr.id, before, after, at_ms))
        for trigger in self._triggers_by_event.get(name, self._triggers_by_event[ANY]):
            trigger(state, event, at_ms, effects, late=late)
        return effects

    def on_timers(self, state: State, user: str, now_ms: int) -> Effects:
        """Fire all timers that are ready at ``now_ms``, in the order of their due."""
        effects = Effects()
        state.latest_ms = max(state.latest_ms, now_ms)
        if state.expiry_ms and state.expiry_ms <= now_ms:
            self._expire(state, user, state.latest_ms, effects)
        ready = [timer for timer in state.timers if timer.fire_at_ms <= now_ms]
        if not ready:
            return effects
        state.timers = [timer for timer in state.timers if timer.fire_at_ms > now_ms]
        for timer in sorted(ready, key=_due_order):
            waits = self._waits.get(timer.rule)
            # A rule that the rulebook no longer has takes its waits along.
            if waits is not None:
                waits.fire(state, timer, user, now_ms, effects)
        return effects

    def next_timer_ms(self, state: State) -> int | None:
        """Return when ``on_timers`` has something to do next, if ever."""
        times = [timer.fire_at_ms for timer in state.timers]
        if state.expiry_ms:
            times.append(state.expiry_ms)
        return min(times, default=None)

    def read_tag(self, state: State, tag: str, at_ms: int) -> object:
        """Return the value of a tag at a time."""
        return self._tags[tag].read(state, at_ms)

    def read_tags(self, state: State, at_ms: int) -> dict[str, object]:
        """Return all tags that a user has at a time: a profile."""
        values = {tag.id: tag.read(state, at_ms) for tag in self._tags.values()}
        return {tag: value for tag, value in values.items() if value is not None}

    def _expire(self, state: State, user: str, now_ms: int, effects: Effects) -> None:
        next_ms, first = 0, len(effects.tag_changes)
        for tag_id in list(state.tags):
            tag = self._tags.get(tag_id)
            cell = tag.cell(state) if isinstance(tag, LiveTag) else None
            if not isinstance(tag, LiveTag) or cell is None:
                continue
            effects.tag_changes += tag.expire(state, user, now_ms)
            expiry_ms = tag.kind.expiry_ms(cell)
            if expiry_ms and (not next_ms or expiry_ms < next_ms):
                next_ms = expiry_ms
        state.expiry_ms = next_ms
        times = [change.time_ms for change in effects.tag_changes[first:]]
        for expr in self._exprs:
            before, after = expr.move(state, now_ms)
            if before != after:
                time_ms = max(times, default=now_ms)
                effects.tag_changes.append(by_time(user, expr.id, before, after, time_ms))

    def _moved(self, arms: tuple[Arm, ...]) -> list[LiveExpr]:
        """Return the exprs that these arms may move, each after those that it reads."""
        moved = {arm.tag.id for arm in arms}
        found: list[LiveExpr] = []
        for expr in self._exprs:
            if expr.reads & moved:
                moved.add(expr.id)
                found.append(expr)
        return found

    def _arms(self, tag: EventTag) -> Iterable[tuple[str, Arm]]:
        live = self._tags[tag.id]
        if not isinstance(live, LiveTag):
            return
        arm = Arm(live, _where(tag.where), make_value(tag))
        yield from ((name, arm) for name in dict.fromkeys(tag.event))
        if isinstance(tag, FlagTag) and tag.until is not None:
            off = Arm(live, _where(tag.until.where), _false)
            yield from ((name, off) for name in dict.fromkeys(tag.until.event))

    def _triggers(self, rule: Rule) -> Iterable[tuple[str, Trigger]]:
        node = parse(rule.audience, (), tags=True)
        version = self.rulebook.versions[rule.id]
        live = LiveRule(rule, version, audience(node), self.rulebook.policies, self.read_tag)
        count, absence = rule.trigger.count, rule.trigger.absence
        if absence is not None:
            join = _getters(absence.none.join)
            keeps = frozenset(ref.root for ref in refs(node))
            self._waits[rule.id] = Waits(live, absence, join, keeps, self._settle_ms)
        if rule.status in ("draft", "paused"):
            return
        if rule.trigger.event is not None:
            trigger: Trigger = OnEvent(live, _where(rule.trigger.where))
            yield from ((name, trigger) for name in dict.fromkeys(rule.trigger.event))
        elif count is not None:
            by = _getters([count.by] if count.by else [])
            trigger = OnCount(live, _where(count.where), by, count.n, count.within_ms)
            yield from ((name, trigger) for name in dict.fromkeys(count.event))
        elif absence is not None:
            waits = self._waits[rule.id]
            parts = [(waits.after, absence.after), (waits.none, absence.none)]
            parts += [(waits.exit, match) for match in rule.exit]
            for take, match in parts:
                part = OnPart(take, _where(match.where))
                yield from ((name, part) for name in dict.fromkeys(match.event))


def _index(pairs: list[tuple[str, T]]) -> dict[str, tuple[T, ...]]:
    """Return what is to run by event name, in the rulebook's order.

    "*" runs for every name but those that are no behaviour.
    """
    index: dict[str, list[T]] = {name: [] for name in (ANY, *SILENT, *(name for name, _ in pairs))}
    for name, one in pairs:
        for each in index.keys() - SILENT if name == ANY else (name,):
            if one not in index[each]:
                index[each].append(one)
    return {name: tuple(ones) for name, ones in index.items()}


def _where(condition: Condition) -> Predicate | None:
    return predicate(parse(condition, (), tags=False))


def _getters(paths: list[str]) -> list[Getter]:
    return [getter(parse_ref(path, (), tags=False)) for path in paths]


def _due_order(timer: Timer) -> tuple[int, int, str, str]:
    return timer.due_ms, timer.start_ms, timer.rule, timer.key


def _false(event: Event) -> object:  # noqa: ARG001 - a getter that needs no event
    return False
