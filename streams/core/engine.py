"""The engine: a pure fold of one user's events and timers into tags, decisions, touches.

No clock and no randomness: the same rulebook, state and inputs give the same effects, so
live traffic, tests of rules, backtests and rebuilds are one code. Duplicates and replays
are for the caller to skip. Times are epoch ms.

A value read by a rule is right at the decision's time: the event's, or the due of a wait.
What time alone moves is written as a change by a timer when a flag or an emptied window
expires or a stage is reached, and for a window that only shrinks or a score that only fades
at the tag's next event or at the end of it. A tag made of others is written along with them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from schemas.events import Event
from schemas.tags import SILENT, EventTag, MadeTag
from schemas.touches import TagChange
from streams.core.event_time import event_time_ms
from streams.core.language.compile import chooser, predicate
from streams.core.rulebook import Rulebook, tag_version
from streams.core.rules.evaluation import Context, Effects
from streams.core.rules.ruleset import RuleSet
from streams.core.rules.triggers import ANY, Trigger
from streams.core.state.cells import Cell
from streams.core.state.user import LATE_MS, State, pack, unpack
from streams.core.tags.catalogue import make_take
from streams.core.tags.live import (
    EventFold,
    LiveExpr,
    LiveTag,
    TagInput,
    by_time,
    in_order,
    readers,
    set_groups,
)
from streams.core.tags.replace import replaced

T = TypeVar("T")


class Engine:
    """A rulebook made runnable; holds no state of users, so one serves all of them.

    ``waited`` names the tags whose changes are wanted, and the parts of their values ("" for
    the whole), all without it: who asks for decisions only needs those that a
    trigger waits for. The others are only read.
    """

    def __init__(
        self,
        rulebook: Rulebook,
        *,
        settle_ms: int = 3000,
        waited: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.rulebook = rulebook
        self._settle_ms = settle_ms
        self._definitions: dict[str, str] = {}
        self._tags = _live_tags(rulebook, waited)
        self._exprs = in_order(live for live in self._tags.values() if isinstance(live, LiveExpr))
        for expr in self._exprs:
            expr.bind(self._tags)
        self._timed = [
            live for live in self._tags.values() if isinstance(live, LiveTag) and not live.lasting
        ]
        self._rules = RuleSet(rulebook, self._read_tag, settle_ms)
        inputs = [
            (name, source)
            for tag in rulebook.tags
            if not isinstance(tag, MadeTag)
            for name, source in self._inputs(tag)
        ]
        set_groups(self._tags.values(), [(name, source.tag) for name, source in inputs])
        self._folds = {
            name: EventFold(sources, self._moved(sources))
            for name, sources in _index(inputs).items()
        }
        self._any_fold = self._folds[ANY]
        self._triggers = {
            name: chooser([(trigger.where, trigger) for trigger in triggers])
            for name, triggers in _index(self._rules.triggers).items()
        }
        self._any_triggers = self._triggers[ANY]
        self._waits_for_tags = self._rules.wait_for_tags()

    def load(self, packed: bytes | None) -> State:
        """Return the state of packed bytes, a new one of ``None``."""
        return unpack(packed)

    def dump(self, state: State) -> bytes:
        """Return the bytes of a state."""
        return pack(state)

    def on_event(self, state: State, event: Event, now_ms: int = 0) -> Effects:
        """Fold an event into the state; return what follows from it.

        ``now_ms`` is the lane's time: later than the arrival if others overtook the event.
        """
        effects = Effects()
        at_ms = event_time_ms(event)
        late = at_ms < state.latest_ms - LATE_MS or "late" in event.marks
        state.latest_ms = clock_ms = max(state.latest_ms, at_ms)
        if state.expiry_ms and state.expiry_ms <= clock_ms:
            self._expire(state, clock_ms, effects)
        if event.identities:
            state.identities.update(event.identities)
        name = event.event
        fold = self._folds.get(name, self._any_fold)
        fold.fold(state, event, at_ms, clock_ms, max(clock_ms, now_ms), effects.tag_changes)
        triggers: list[Trigger] = self._triggers.get(name, self._any_triggers)(event)
        changes = effects.tag_changes if self._waits_for_tags else None
        if triggers or changes:
            claims = set[str]()
            context = Context(state, event, at_ms, now_ms, effects, late=late, claims=claims)
            if changes:
                triggers = self._rules.with_moved_tags(context, triggers, changes)
            for trigger in triggers:
                trigger(context)
        return effects

    def on_timers(self, state: State, user: str, now_ms: int) -> Effects:
        """Fire all that is ready at ``now_ms``, in the order of its due."""
        effects = Effects()
        state.latest_ms = max(state.latest_ms, now_ms)
        if state.expiry_ms and state.expiry_ms <= now_ms:
            self._expire(state, state.latest_ms, effects)
        if self._waits_for_tags and effects.tag_changes:
            self._rules.on_changes(state, user, effects.tag_changes, now_ms, effects)
        self._rules.fire(state, user, now_ms, effects)
        return effects

    def on_changes(
        self, state: State, user: str, changes: Sequence[TagChange], now_ms: int
    ) -> Effects:
        """Give the rules changes of tags that came from outside, not by an event."""
        effects = Effects()
        self._rules.on_changes(state, user, changes, now_ms, effects)
        return effects

    def replace(self, state: State, event: Event, tag: str, cell: Cell | None) -> Effects:
        """Put a rebuilt cell in the place of a tag's own; exprs follow, rules do not see it."""
        effects = Effects()
        state.latest_ms = max(state.latest_ms, event_time_ms(event))
        if state.expiry_ms and state.expiry_ms <= state.latest_ms:
            self._expire(state, state.latest_ms, effects)
        live = self._tags[tag]
        if isinstance(live, LiveTag):
            effects.tag_changes += replaced(live, self._exprs, state, event, cell)
        return effects

    def definition(self, tag: str) -> str:
        """Return the hash of a tag's definition, empty for one that the rulebook does not have."""
        if not self._definitions:
            self._definitions = {other.id: tag_version(other) for other in self.rulebook.tags}
        return self._definitions.get(tag, "")

    def cell(self, state: State, tag: str) -> Cell | None:
        """Return what a user holds of a tag of events."""
        live = self._tags[tag]
        return live.cell(state) if isinstance(live, LiveTag) else None

    def next_timer_ms(self, state: State) -> int | None:
        """Return when ``on_timers`` has something to do next, if ever."""
        next_ms = self._rules.next_ms(state)
        if state.expiry_ms and (next_ms is None or state.expiry_ms < next_ms):
            return state.expiry_ms
        return next_ms

    def read_tag(self, state: State, tag: str, at_ms: int) -> object:
        """Return the value of a tag at a time."""
        return self._tags[tag].read(state, at_ms)

    def read_tags(self, state: State, at_ms: int) -> dict[str, object]:
        """Return all tags that a user has at a time: a profile."""
        values = {tag.id: tag.read(state, at_ms) for tag in self._tags.values()}
        return {tag: value for tag, value in values.items() if value is not None}

    def _read_tag(self, state: State, tag: str, at_ms: int) -> object:
        return self.read_tag(state, tag, at_ms)

    def _expire(self, state: State, now_ms: int, effects: Effects) -> None:
        next_ms, first = 0, len(effects.tag_changes)
        cells = state.tags
        for tag in self._timed:
            cell = cells.read(tag.group)[tag.index]
            if cell is None or cell[0] != tag.code:
                continue
            expiry_ms = tag.kind.expiry_ms(cell)
            if expiry_ms and expiry_ms <= now_ms:
                effects.tag_changes += tag.expire(state, now_ms)
                expiry_ms = tag.kind.expiry_ms(cell)
            if expiry_ms and (not next_ms or expiry_ms < next_ms):
                next_ms = expiry_ms
        state.expiry_ms = next_ms
        if changes := effects.tag_changes[first:]:
            effects.tag_changes += self._follow(state, now_ms, changes)

    def _follow(
        self, state: State, now_ms: int, changes: Sequence[TagChange]
    ) -> Iterator[TagChange]:
        """Make the exprs anew that read what time has moved."""
        moved = {change.tag for change in changes}
        time_ms = max(change.time_ms for change in changes)
        for expr in self._exprs:
            if not expr.reads.isdisjoint(moved):
                before, after = expr.move(state, now_ms)
                if before != after:
                    moved.add(expr.id)
                    yield by_time(expr, before, after, time_ms)

    def _moved(self, inputs: tuple[TagInput, ...]) -> tuple[LiveExpr, ...]:
        """Return the exprs that these inputs may move, each after those that it reads."""
        return tuple(readers(self._exprs, {source.tag.id for source in inputs}))

    def _inputs(self, tag: EventTag) -> Iterable[tuple[str, TagInput]]:
        live = self._tags[tag.id]
        if not isinstance(live, LiveTag):
            return
        on = TagInput(live, predicate(tag.where.node), make_take(tag, live.kind))
        yield from ((name, on) for name in dict.fromkeys(tag.event))
        if (until := tag.ended_by) is not None:
            off = TagInput(live, predicate(until.where.node), _false)
            yield from ((name, off) for name in dict.fromkeys(until.event))


def _live_tags(
    rulebook: Rulebook, waited: Mapping[str, Collection[str]] | None
) -> dict[str, LiveTag | LiveExpr]:
    tags: dict[str, LiveTag | LiveExpr] = {}
    for tag in rulebook.tags:
        if isinstance(tag, MadeTag):
            tags[tag.id] = LiveExpr(tag)
            continue
        live = tags[tag.id] = LiveTag(tag)
        if waited is not None:
            live.emit_only(waited.get(tag.id))
    return tags


def _index(pairs: list[tuple[str, T]]) -> dict[str, tuple[T, ...]]:
    """Return what is to run by event name, in the rulebook's order.

    "*" runs for every name but those that are no behaviour.
    """
    index: dict[str, list[T]] = {name: [] for name in (ANY, *SILENT, *(name for name, _ in pairs))}
    for name, item in pairs:
        for each in index.keys() - SILENT if name == ANY else (name,):
            if item not in index[each]:
                index[each].append(item)
    return {name: tuple(items) for name, items in index.items()}


def _false(event: Event) -> object:  # noqa: ARG001 - a getter that needs no event
    return False
