"""The engine: a pure fold of one user's events and timers into tags, decisions, touches.

It has no clock and no randomness: the same rulebook, state and inputs give the same effects,
so live traffic, tests of rules, backtests and rebuilds run the same code. The caller skips
duplicates and replays. Times are epoch ms.

A rule reads values as of the decision's time: the event's, or the due of a wait. Where time
alone moves a value, a timer emits the change when a flag expires, a window empties or a stage
is reached; a window that only shrinks and a score that only fades are emitted at the tag's next
event, or at their end. A made tag is emitted along with the tags that it reads.
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
    """A rulebook, ready to run; it has no state of users, so one engine serves all of them.

    ``waited`` maps each tag whose changes are emitted to the parts of its value that matter
    ("" for the whole); other tags are only read. Without it the changes of all tags are emitted.
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
        """Fire all timers that are ready at ``now_ms``, in the order of their dues."""
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
        """Run the rules on changes of tags that no event of the user brought."""
        effects = Effects()
        self._rules.on_changes(state, user, changes, now_ms, effects)
        return effects

    def replace(self, state: State, event: Event, tag: str, cell: Cell | None) -> Effects:
        """Replace a tag's cell by a rebuilt one; exprs follow, rules do not see the changes."""
        effects = Effects()
        state.latest_ms = max(state.latest_ms, event_time_ms(event))
        if state.expiry_ms and state.expiry_ms <= state.latest_ms:
            self._expire(state, state.latest_ms, effects)
        live = self._tags[tag]
        if isinstance(live, LiveTag):
            effects.tag_changes += replaced(live, self._exprs, state, event, cell)
        return effects

    def definition(self, tag: str) -> str:
        """Return the hash of a tag's definition, empty for an unknown tag."""
        if not self._definitions:
            self._definitions = {other.id: tag_version(other) for other in self.rulebook.tags}
        return self._definitions.get(tag, "")

    def cell(self, state: State, tag: str) -> Cell | None:
        """Return a user's cell of a tag of events, ``None`` if there is none."""
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
        """Return the values of all tags that a user has at a time, by id."""
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
        """Compute the exprs again that read what time has moved; yield their changes."""
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
